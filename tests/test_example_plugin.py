"""The worked example of a third-party plugin: real weights, a random twin, and the distance between them."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import ROOT, SHARED, needs_shared
from small_task import enter

from harness.errors import DamagedFileError, MissingDataError, UsageError
from harness.hashing import hash_file
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.plugins import Registry, assemble
from harness.runner import run
from harness.types import Batch, BuildContext

EXAMPLE = ROOT / "examples/harness-resnet-cifar"
WEIGHTS = SHARED / "data/weights/resnet_cifar10"
FILES = {"resnet20-cifar10": "resnet20-12fca82f.th", "resnet56-cifar10": "resnet56-4bfd9763.th"}


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """Return the built-in plugins with the example beside them, imported from its folder."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield assemble(extra={"harness_resnet_cifar": importlib.import_module("harness_resnet_cifar")})
    finally:
        sys.path.remove(str(EXAMPLE))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch, train=6, val=2, test=4)


def build(registry: Registry, name: str, untrained: bool = False, channels: int = 3, **options: str):
    """Build a model of the example."""
    from harness_resnet_cifar.wrapper import build as builder

    card = registry.cards[name]
    context = BuildContext(card, untrained=untrained, channels=channels, transform=card.input, options=options)
    return builder(replace(context, cache=Path("cache"), offline=True))


def probe(size: int, n: int, channels: int = 3) -> Batch:
    """Return images given by a formula: (7x + 13y + 29c + 53i + xy) mod 256."""
    i, c, y, x = np.ogrid[:n, :channels, :size, :size]
    images = ((7 * x + 13 * y + 29 * c + 53 * i + x * y) % 256).astype(np.uint8)
    return Batch(tuple(f"probe/{row}" for row in range(n)), "image", images=images)


def test_listing_the_example_imports_no_torch() -> None:
    """Cards come without the wrapper; both have licence, hash, stages and exposure."""
    program = (
        "import sys, harness_resnet_cifar as example\n"
        "cards = example.harness_models()\n"
        "print([card.name for card in cards], 'torch' in sys.modules)\n"
        "assert all(card.access.licence and card.weights.sha256 and card.exposure for card in cards)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=EXAMPLE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.stdout == "['resnet20-cifar10', 'resnet56-cifar10'] False\n", done.stderr


@needs_shared
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", ["32", "96"])
def test_the_features_are_those_of_the_original_program(name: str, size: str, registry: Registry) -> None:
    """64 features and the means of all stages on formula images, to 1e-4; the file is the one of the card."""
    path = WEIGHTS / FILES[name]
    assert hash_file(path) == registry.cards[name].weights.sha256
    wanted = json.loads((WEIGHTS / "expected.json").read_text())[name]["probes"][size]
    model = build(registry, name, weights=str(path), size=size)
    found = model.embed(probe(int(size), len(wanted["feature"])), ("layer1", "layer2", "layer3"))
    np.testing.assert_allclose(found["layer3"], wanted["feature"], atol=1e-4)
    means = np.stack([vectors.mean(axis=1) for vectors in found.values()])
    np.testing.assert_allclose(means, wanted["stage_means"], atol=1e-4)
    assert [vectors.shape[1] for vectors in found.values()] == [16, 32, 64]


def test_twins_are_drawn_he_normal_from_their_seed(registry: Registry) -> None:
    """Weights have variance 2 / fan-in, batch norms are at identity, any number of channels is taken."""
    model = build(registry, "resnet56-cifar10", untrained=True, channels=5)
    weight = model.module.layer3[2].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert model.module.conv1.weight.shape == (16, 5, 3, 3)
    assert model.module.layer1[0].bn1.weight.eq(1).all()
    assert model.embed(probe(40, 2, 5), ("layer3",))["layer3"].shape == (2, 64)


@pytest.mark.parametrize("size", ["7", "x", "-8", "3.5"])
def test_a_size_that_cannot_be_is_refused(size: str, registry: Registry) -> None:
    """The option takes whole numbers of at least 8."""
    with pytest.raises(UsageError, match=r"resnet20-cifar10: option size=.*: expected a whole number of at least 8"):
        build(registry, "resnet20-cifar10", untrained=True, size=size)


@needs_shared
def test_a_mirror_is_searched_and_its_file_must_be_the_cards(registry: Registry, folder: Path) -> None:
    """DIR/owner/repo/... is found; another file of that name is refused by its hash, unless it is passed on purpose."""
    from harness_resnet_cifar.wrapper import identify

    place = folder / "mirror/akamaster/pytorch_resnet_cifar10/pretrained_models" / FILES["resnet20-cifar10"]
    place.parent.mkdir(parents=True)
    card = registry.cards["resnet20-cifar10"]
    context = BuildContext(card, data_dirs=(folder / "mirror",), cache=Path("cache"))
    with pytest.raises(MissingDataError) as caught:
        identify(context)
    assert str(caught.value) == (
        f"resnet20-cifar10: weights not found ({place}, cache; download: not offered). Put resnet20-12fca82f.th of "
        "github:akamaster/pytorch_resnet_cifar10 at DIR/akamaster/pytorch_resnet_cifar10/pretrained_models/"
        "resnet20-12fca82f.th and pass --data-dir DIR, or pass resnet20-cifar10,weights=PATH (licence BSD-2-Clause). "
        "untrained:resnet20-cifar10 runs without weights."
    )
    shutil.copy(WEIGHTS / FILES["resnet20-cifar10"], place)
    assert identify(context) == card.weights.sha256
    shutil.copy(WEIGHTS / FILES["resnet56-cifar10"], place)
    with pytest.raises(MissingDataError, match="is not the file its card names: expected sha256 12fca82f"):
        identify(context)
    assert (
        identify(replace(context, options={"weights": str(place)})) == registry.cards["resnet56-cifar10"].weights.sha256
    )


@needs_shared
def test_damaged_and_foreign_weights_are_told_apart(registry: Registry, folder: Path) -> None:
    """A cut file is damaged; the weights of the larger network do not fit the smaller one."""
    whole = (WEIGHTS / FILES["resnet20-cifar10"]).read_bytes()
    (folder / "cut.th").write_bytes(whole[:5000])
    with pytest.raises(DamagedFileError, match="5,000 bytes"):
        build(registry, "resnet20-cifar10", weights="cut.th")
    with pytest.raises(MissingDataError, match=r"does not fit: 180 unexpected \(first: layer1.3.conv1"):
        build(registry, "resnet20-cifar10", weights=str(WEIGHTS / FILES["resnet56-cifar10"]))


@needs_shared
def test_trained_and_untrained_run_through_the_engine(registry: Registry, folder: Path) -> None:
    """Both give a result a stage; a file of another network is a failure with its reason."""
    path = WEIGHTS / FILES["resnet20-cifar10"]
    options = RunOptions(baselines="none", store=str(folder / "store"), output=None, stages="all", seeds=(0,))
    wanted = parse_models(f"resnet20-cifar10,weights={path},untrained:resnet20-cifar10")
    report = run(wanted, "tiny.yaml@graph_image", options, registry=registry)
    assert not report.failures
    stages = ["layer1", "layer2", "layer3"]
    assert [(result.model.training, result.stage) for result in report.results] == [
        *(("ood", stage) for stage in stages), *(("untrained", stage) for stage in stages),
    ]  # fmt: skip
    trained, untrained = (report.results[row].headline.value for row in (2, 5))
    assert trained is not None
    assert untrained is not None
    assert trained != untrained
    foreign = parse_models(f"resnet20-cifar10,weights={WEIGHTS / FILES['resnet56-cifar10']}")
    ((_, error),) = run(foreign, "tiny.yaml@graph_image", options, registry=registry).failures
    assert isinstance(error, MissingDataError)
    assert "does not fit" in str(error)


@needs_shared
def test_training_pays_for_a_linear_probe_on_digits(registry: Registry) -> None:
    """Trained features beat those of every twin on handwritten digits, as measured with the original program."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.preprocessing import StandardScaler

    digits = load_digits()
    rows = np.random.default_rng(0).permutation(len(digits.target))[:900]
    grey = np.repeat(digits.images[rows, None], 3, axis=1).astype(np.float32) / 16
    train, test = slice(0, 600), slice(600, None)

    def score(model) -> float:
        parts = [
            model.embed(Batch(tuple(map(str, range(150))), "image", images=grey[start : start + 150]), ("layer3",))
            for start in range(0, len(grey), 150)
        ]
        features = np.concatenate([part["layer3"] for part in parts])
        scaled = StandardScaler().fit(features[train]).transform(features)
        head = LogisticRegression(max_iter=500).fit(scaled[train], digits.target[rows][train])
        return float(f1_score(digits.target[rows][test], head.predict(scaled[test]), average="macro"))

    trained = score(build(registry, "resnet20-cifar10", weights=str(WEIGHTS / FILES["resnet20-cifar10"])))
    untrained = score(build(registry, "resnet20-cifar10", untrained=True))
    assert trained > untrained + 0.01
    assert trained > 0.9


def test_an_installed_copy_is_listed_and_a_broken_one_stops_nothing(folder: Path) -> None:
    """After pip install both models stand in `models ls`; a copy that cannot be imported is one line on stderr."""
    good, broken = folder / "good", folder / "broken"
    for place in (good, broken):
        shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    project = (broken / "pyproject.toml").read_text().replace("harness_resnet_cifar", "broken_cifar")
    (broken / "pyproject.toml").write_text(project.replace("harness-resnet-cifar", "harness-broken-cifar"))
    (broken / "harness_resnet_cifar").rename(broken / "broken_cifar")
    (broken / "broken_cifar/__init__.py").write_text('raise ImportError("its network moved away")\n')
    install = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    subprocess.run(
        [*install, "--no-build-isolation", "--target", "site", str(good), str(broken)], check=True, capture_output=True
    )
    variables = {**os.environ, "PYTHONPATH": str(folder / "site"), "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-m", "harness", "models", "ls", "--family", "cnn"],
        capture_output=True, text=True, env=variables, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    for name in FILES:
        assert "BSD-2-Clause" in rows[name]
        assert "fetch by hand" in rows[name]
        assert "harness-resnet-cifar 0.1.0" in rows[name]
    assert "resnet18" in rows
    assert done.stderr.count("its network moved away") == 1
