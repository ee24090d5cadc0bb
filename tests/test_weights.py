"""Trained weights: loaded bit for bit, or refused with what is wrong and what to do."""

from __future__ import annotations

import builtins
import pickle
from dataclasses import replace
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
import timm
import torch
from harness.models.alexnet import build as build_alexnet
from harness.models.checkpoint_file import read_state
from harness.models.fitting import load_weights
from harness.models.timm_backbone import build
from harness.models.timm_schemes import timm_card
from harness.models.weights import identify as hash_weights
from harness.models.weights_place import find_weights
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from harness.cards import ModelCard
from harness.errors import DamagedFileError, HarnessError, MissingDataError
from harness.identity import identify
from harness.modelstring import ModelRequest
from harness.plugins import load_registry
from harness.selection import RequestedModel
from harness.types import Batch, BuildContext, DataContext

SIDE = 64
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, SIDE, SIDE), dtype=np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def card(arch: str, **changes: Any) -> ModelCard:
    """Return the card of a small network that takes 64 px, with weights at lab/NAME of the hub."""
    token = arch.startswith("vit")
    values = {
        "name": "tiny-net",
        "build": "harness.models.timm_backbone:build",
        "arch": arch,
        "kwargs": {"num_classes": 0, **({"img_size": SIDE} if token else {})},
        "weights": {"source": "hf-hub:lab/tiny-net", "size_gb": 0.02},
        "access": {"licence": "apache-2.0"},
        "input": {"size": SIDE, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]},
        "output": {"pooling": "cls" if token else "gap", "stages": {"last": 11 if token else 4}},
        "options": ["weights"],
        **changes,
    }
    return ModelCard.model_validate(values)


def context(arch: str = "resnet18", weights: Path | None = None, **changes: Any) -> BuildContext:
    """Say how a small network is built, offline, with the option ``weights``."""
    options = {} if weights is None else {"weights": str(weights)}
    return replace(BuildContext(card(arch), options=options, cache=Path("cache"), offline=True), **changes)


def network(arch: str, seed: int = 0, **arguments: Any) -> nn.Module:
    """Draw a network; no norm, its running statistics included, has its initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        made = timm.create_model(arch, pretrained=False, **{"num_classes": 0, **arguments}).eval()
        for name, tensor in made.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return made


def small(arch: str, seed: int = 0, **arguments: Any) -> nn.Module:
    """Draw a network for images of 64 px."""
    return network(arch, seed, **({"img_size": SIDE} if arch.startswith("vit") else {}), **arguments)


def write(module: nn.Module, path: Path, kind: str = "safetensors") -> Path:
    """Save the weights of a network in one of three formats."""
    state = module.state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")
    return path


def features(asked: BuildContext) -> np.ndarray:
    """Build a trained model and embed the images."""
    return build(asked).embed(Batch(("a", "b"), "image", images=IMAGES), asked.card.stages)["last"]


def expected(module: nn.Module, asked: BuildContext) -> np.ndarray:
    """Embed the images with the network itself."""
    transform = asked.card.input
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (transform.mean, transform.std))
    pixels = (torch.from_numpy(IMAGES).float() / 255 - mean) / std
    with torch.inference_mode():
        return module(pixels).numpy()


def failure(asked: BuildContext, kind: type[HarnessError]) -> str:
    """Build a model that cannot be built and return the message."""
    with pytest.raises(kind) as caught:
        build(asked)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "torch", "old torch"])
@pytest.mark.parametrize("arch", ["resnet18", "vit_tiny_patch16_224"])
def test_every_format_gives_the_same_network(arch: str, kind: str, folder: Path) -> None:
    """Weights come back bit for bit from safetensors, from a torch zip and from an old torch pickle."""
    module = small(arch)
    asked = context(arch, write(module, folder / "weights.bin", kind))
    loaded = build(asked)._module.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in module.state_dict().items())
    assert list(loaded) == list(module.state_dict())


@pytest.mark.parametrize("arch", ["resnet18", "vit_tiny_patch16_224"])
def test_loaded_weights_give_the_features_of_the_network_itself(arch: str, folder: Path) -> None:
    """Features through the harness are those of timm's network on the same pixels."""
    module = small(arch)
    asked = context(arch, write(module, folder / "model.safetensors"))
    np.testing.assert_allclose(features(asked), expected(module, asked), rtol=0, atol=2e-5)
    assert np.ptp(features(asked), axis=0).max() > 1e-3


def test_two_formats_give_equal_bits(folder: Path) -> None:
    """The same weights as safetensors and as a torch file give bit-equal features."""
    module = small("vit_tiny_patch16_224")
    paths = [write(module, folder / kind, kind) for kind in ("safetensors", "torch")]
    first, second = (features(context("vit_tiny_patch16_224", path)) for path in paths)
    assert first.tobytes() == second.tobytes()


def test_a_shipped_card_takes_its_weights_from_a_file(folder: Path) -> None:
    """The card vit-s-16 runs on a checkpoint with classifier, and every tensor but that is in the network."""
    module = network("vit_small_patch16_224", num_classes=10)
    shipped = load_registry().cards["vit-s-16"]
    path = write(module, folder / "model.safetensors")
    loaded = build(BuildContext(shipped, options={"weights": str(path)}))._module.state_dict()
    assert {*module.state_dict()} - {*loaded} == {"head.weight", "head.bias"}
    assert all(torch.equal(loaded[name], module.state_dict()[name]) for name in loaded)


@pytest.mark.parametrize("arch", ["resnet18", "vit_tiny_patch16_224"])
def test_a_classifier_in_the_file_is_left_out(arch: str, folder: Path) -> None:
    """A file with a classifier gives the features of the file without."""
    whole = small(arch, num_classes=7)
    bare = small(arch)
    bare.load_state_dict({name: whole.state_dict()[name] for name in bare.state_dict()})
    paths = [write(module, folder / name) for module, name in ((whole, "whole"), (bare, "bare"))]
    first, second = (features(context(arch, path)) for path in paths)
    assert first.tobytes() == second.tobytes()


def test_a_classifier_of_another_name_is_left_out_too(folder: Path) -> None:
    """Timm says how the classifier of a network is called; it need not be ``head`` or ``fc``."""
    own = card("inception_v4", output={"pooling": "gap", "stages": {"last": 4}})
    path = write(timm.create_model("inception_v4", num_classes=3), folder / "model.safetensors")
    loaded = build(context(card=own, weights=path))._module.state_dict()
    assert "last_linear.weight" in read_state(path)
    assert "last_linear.weight" not in loaded


def test_old_files_need_no_batch_counters(folder: Path) -> None:
    """Files from before batch norms counted their batches load."""
    module = small("resnet18")
    state = {name: tensor for name, tensor in module.state_dict().items() if "num_batches" not in name}
    save_file(state, folder / "model.safetensors")
    assert features(context(weights=folder / "model.safetensors")).shape == (2, 512)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("layer1.0.conv1.weight"), "1 missing (first: layer1.0.conv1.weight)."),
        (lambda state: state.update(extra=torch.zeros(2)), "1 unexpected (first: extra)."),
        (
            lambda state: state.update({"bn1.weight": torch.zeros(3), "bn1.bias": torch.zeros(3)}),
            "2 wrong shape (first: bn1.weight (3,) instead of (64,)).",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, words: str, folder: Path) -> None:
    """A missing, surplus or misshapen tensor is counted and named, with the file; nothing is loaded in part."""
    state = dict(small("resnet18").state_dict())
    change(state)
    path = folder / "model.safetensors"
    save_file(state, path)
    message = failure(context(weights=path), MissingDataError)
    assert message == f"tiny-net: {path} does not fit: {words} Wrong file or revision?"


@pytest.mark.parametrize(
    ("names", "dtype", "words"),
    [
        (["conv1.weight", "bn1.weight"], torch.int8, "2 in the wrong number format (first: conv1.weight int8 instead"),
        (["bn1.weight"], torch.bool, "1 in the wrong number format (first: bn1.weight bool instead"),
        (["bn1.weight"], torch.complex64, "1 in the wrong number format (first: bn1.weight complex64 instead"),
    ],
)
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_weights_that_are_no_floats_are_refused(
    names: list[str], dtype: torch.dtype, words: str, kind: str, folder: Path
) -> None:
    """Whole, logical and complex numbers are no weights of a network of floats, and are not turned into some."""
    state, path = dict(small("resnet18").state_dict()), folder / "model.bin"
    state.update({name: state[name].to(dtype) for name in names})
    save_file(state, path) if kind == "safetensors" else torch.save(state, path)
    message = failure(context(weights=path), MissingDataError)
    assert message == f"tiny-net: {path} does not fit: {words} of float32): a quantized file?"


def test_floats_where_a_network_counts_are_refused() -> None:
    """An index kept as floats is refused too; a batch counter, which shapes no number, may be an average."""
    module = nn.BatchNorm1d(2)
    module.register_buffer("index", torch.zeros(3, dtype=torch.long))
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    asked = context(weights=Path(__file__))
    load_weights(module, {**state, "num_batches_tracked": torch.tensor(2.5)}, asked)
    assert module.num_batches_tracked.dtype == torch.long
    with pytest.raises(MissingDataError, match=r"first: index float32 instead of int64\): a quantized file\?"):
        load_weights(module, {**state, "index": torch.zeros(3)}, asked)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_format_is_taken(dtype: torch.dtype, folder: Path) -> None:
    """Half and double precision are weights like others."""
    path = write(small("resnet18").to(dtype), folder / "model.safetensors")
    assert build(context(weights=path))._module.conv1.weight.dtype == torch.float32


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    """A ViT's file for a ResNet lacks all and has all, and the message counts both."""
    path = write(small("vit_tiny_patch16_224"), folder / "vit.safetensors")
    asked = context(weights=path)
    message = failure(asked, MissingDataError)
    total = sum("num_batches" not in name for name in small("resnet18").state_dict())
    assert f"{total} missing (first: conv1.weight), 150 unexpected (first: " in message
    assert MissingDataError.exit_code == 5


def test_nested_weights_are_unwrapped(folder: Path) -> None:
    """A card may say under which key of a torch file the weights lie."""
    module = small("resnet18")
    torch.save({"epoch": 3, "model": module.state_dict()}, folder / "nested.pt")
    nested = card("resnet18", weights={"source": "hf-hub:lab/tiny-net", "unwrap": ["model"]})
    plain = context(weights=write(module, folder / "plain.pt", "torch"))
    assert (features(context(card=nested, weights=folder / "nested.pt")) == features(plain)).all()


def test_truncated_safetensors_are_damaged(folder: Path) -> None:
    """A cut file is named with the size found and the size its header promises."""
    path = write(small("resnet18"), folder / "model.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    message = failure(context(weights=path), DamagedFileError)
    assert f"{len(whole) // 2:,} bytes, its header promises {len(whole):,}" in message
    path.write_bytes(whole[:500])
    assert "500 bytes, header cut off" in failure(context(weights=path), DamagedFileError)
    assert DamagedFileError.exit_code == 7


@pytest.mark.parametrize("kind", ["torch", "old torch"])
@pytest.mark.parametrize("kept", [2, 30, 100, 0.5, 0.999])
def test_truncated_torch_files_are_damaged(kind: str, kept: float, folder: Path) -> None:
    """A torch file cut anywhere is damaged, not suspect, and the message gives its size."""
    path = write(nn.Linear(50, 50), folder / "model.bin", kind)
    whole = path.read_bytes()
    cut = whole[: int(kept * len(whole)) if kept < 1 else int(kept)]
    path.write_bytes(cut)
    assert f"{len(cut):,} bytes" in failure(context(weights=path), DamagedFileError)


class Intruder:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        """Tell pickle to open a file for writing."""
        return builtins.open, ("marker", "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_never_run(zipped: bool, folder: Path) -> None:
    """A pickle that would run code is refused, says which, and the code has not run."""
    path = folder / "pytorch_model.bin"
    torch.save({"conv1.weight": Intruder()}, path, _use_new_zipfile_serialization=zipped)
    message = failure(context(weights=path), MissingDataError)
    assert "refused: reading it would run code stored in the file (io.open)" in message
    assert "weights_only" not in message
    assert not (folder / "marker").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*TorchScript:UserWarning")
def test_whole_networks_and_programs_are_refused(folder: Path) -> None:
    """A pickled network and a TorchScript program hold code; the message says how to save tensors alone."""
    torch.save(nn.Linear(2, 2), folder / "network.pt")
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(folder / "program.pt"))
    for name, words in (("network.pt", "Linear"), ("program.pt", "TorchScript")):
        message = failure(context(weights=folder / name), MissingDataError)
        assert words in message
        assert "torch.save(model.state_dict(), PATH)" in message


@pytest.mark.filterwarnings("error")
def test_torchs_own_warnings_do_not_stand_before_a_refusal(folder: Path) -> None:
    """A pickle of another protocol is refused in our words alone."""
    (folder / "model.bin").write_bytes(pickle.dumps({"conv1.weight": Intruder()}, protocol=4))
    assert "refused: reading it would run code" in failure(context(weights=folder / "model.bin"), MissingDataError)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>Log in</html>", "a web page, perhaps a login or error page (34 bytes, first bytes"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 46807446\n",
            "never fetched (70 bytes, first bytes b'version https://', expected 46,807,446 bytes)",
        ),
        (b"", "empty or unknown (0 bytes"),
        (b"\x80garbage that is no pickle", "cannot be read"),
        (b"PK\x03\x04garbage that is no zip", "cannot be read"),
    ],
)
def test_what_is_no_weights_file_is_damaged(content: bytes, words: str, folder: Path) -> None:
    """A page, a pointer or rubbish under the name of a weights file is recognised by its first bytes."""
    (folder / "model.safetensors").write_bytes(content)
    assert words in failure(context(weights=folder / "model.safetensors"), DamagedFileError)


def test_a_torch_file_is_known_by_content(folder: Path) -> None:
    """A torch file under the name of a safetensors file loads."""
    module = small("resnet18")
    wrong = write(module, folder / "model.safetensors", "torch")
    right = write(module, folder / "right.safetensors")
    assert (features(context(weights=wrong)) == features(context(weights=right))).all()


def test_a_file_that_holds_no_mapping_is_damaged(folder: Path) -> None:
    """A torch file with a list in it is no state dict."""
    torch.save([torch.zeros(2)], folder / "list.pt")
    assert "found list" in failure(context(weights=folder / "list.pt"), DamagedFileError)


def test_positions_of_another_grid_are_resampled(folder: Path) -> None:
    """A file made at 96 px serves a network for 64 px as timm itself would convert it."""
    arch = "vit_tiny_patch16_224"
    large, target = network(arch, img_size=96), small(arch)
    path = write(large, folder / "model.safetensors")
    loaded = build(context(arch, path))._module.state_dict()
    assert torch.equal(loaded["pos_embed"], checkpoint_filter_fn(large.state_dict(), target)["pos_embed"])
    assert loaded["pos_embed"].shape == (1, 17, 192)
    assert torch.equal(loaded["cls_token"], large.state_dict()["cls_token"])


@pytest.mark.parametrize("tokens", [1, 16, 20])
def test_positions_that_are_no_grid_do_not_fit(tokens: int, folder: Path) -> None:
    """A position embedding whose tokens make no square beside the class token is a wrong shape, not a crash."""
    state: dict[str, Tensor] = dict(small("vit_tiny_patch16_224").state_dict())
    state["pos_embed"] = torch.zeros(1, tokens, 192)
    save_file(state, folder / "model.safetensors")
    message = failure(context("vit_tiny_patch16_224", folder / "model.safetensors"), MissingDataError)
    assert f"1 wrong shape (first: pos_embed (1, {tokens}, 192) instead of (1, 17, 192))" in message


def test_a_mirror_is_searched_folder_by_folder(folder: Path) -> None:
    """DIR/OWNER/REPO/FILE of the first --data-dir wins; in one folder safetensors come first."""
    asked = context(data_dirs=(folder / "a", folder / "b"))
    places = [
        folder / parent / "lab/tiny-net" / name
        for parent in "ba"
        for name in ("pytorch_model.bin", "model.safetensors")
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
        assert find_weights(asked) == place
    assert find_weights(replace(asked, data_dirs=asked.data_dirs[::-1])) == places[1]
    assert find_weights(replace(asked, options={"weights": str(places[0])})) == places[0]


def test_weights_that_are_nowhere_are_explained(folder: Path) -> None:
    """Offline, the message gives the places searched, the size, the licence and the ways out."""
    asked = context(data_dirs=(folder / "one", folder / "two"))
    message = failure(asked, MissingDataError)
    for words in (
        "tiny-net: weights not found (",
        f"{folder}/one/lab/tiny-net/model.safetensors, {folder}/one/lab/tiny-net/pytorch_model.bin",
        f"{folder}/two/lab/tiny-net/model.safetensors",
        "not asked (--offline)",
        "Put model.safetensors of hf-hub:lab/tiny-net at DIR/lab/tiny-net/model.safetensors",
        "pass tiny-net,weights=PATH, or run without --offline to download it (0.02 GB, licence apache-2.0)",
        "untrained:tiny-net",
    ):
        assert words in message
    assert "\n" not in message
    assert not (folder / "cache").exists() or not list((folder / "cache").rglob("*.safetensors"))


def hub_error(kind: type[Exception], status: int | None = 403) -> Exception:
    """Make an error of the hub's library as it is raised for a refused request."""
    error = kind.__new__(kind, "403 Client Error for url: example.org")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    return error


def set_hub(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, token: str | None = None) -> None:
    """Let every download fail, and say whether somebody is logged in."""

    def fail(*arguments: Any, **more: Any) -> str:
        raise error or hub_error(LocalEntryNotFoundError, status=None)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)


PAGE = "model page of lab/tiny-net on Hugging Face"


@pytest.mark.parametrize(
    ("offline", "error", "token", "problem", "advice"),
    [
        (True, None, "t", "not asked (--offline)",
         f"Run without --offline to download it (terms: the {PAGE}; login: hf auth login)"),
        (True, None, None, "not asked (--offline)",
         f"Accept the terms on the {PAGE}, log in (hf auth login), and run without --offline to download it"),
        (False, None, "t", "no connection", f"Connect and run again (terms: the {PAGE}; login: hf auth login)"),
        (False, ConnectionError("example.org"), "t", "no connection",
         f"Connect and run again (terms: the {PAGE}; login: hf auth login)"),
        (False, None, None, "no connection",
         f"Accept the terms on the {PAGE}, log in (hf auth login), and connect and run again"),
        (False, hub_error(GatedRepoError), "t", "refused with status 403",
         f"Accept the terms on the {PAGE}, log in (hf auth login), and run again"),
        (False, hub_error(HfHubHTTPError, 401), "t", "refused with status 401",
         f"Accept the terms on the {PAGE}, log in (hf auth login), and run again"),
        (False, hub_error(HfHubHTTPError, 500), "t", "refused with status 500",
         f"Mend that and run again (terms: the {PAGE}; login: hf auth login)"),
    ],
)  # fmt: skip
def test_gated_weights_are_explained(
    offline: bool, error: Exception | None, token: str | None, problem: str, advice: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The message says why the file is not there; terms and login come first only where they are what is lacking."""
    set_hub(monkeypatch, error, token)
    gated = card("resnet18", access={"gated": "institutional", "licence": "CC-BY-NC-ND-4.0"})
    assert failure(context(card=gated, offline=offline, data_dirs=(Path("data"),)), MissingDataError) == (
        "tiny-net: weights are gated (institutional). Licence: CC-BY-NC-ND-4.0. Not found "
        "(data/lab/tiny-net/model.safetensors, data/lab/tiny-net/pytorch_model.bin, cache; download: "
        f"{problem}). {advice}; or place model.safetensors at DIR/lab/tiny-net/model.safetensors and pass --data-dir "
        "DIR, or use tiny-net,weights=PATH. untrained:tiny-net runs at once, without weights. Precomputed vectors: "
        "embeddings:PATH."
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("HTTPSConnectionPool(host='example.org')"), "download: no connection)"),
        (URLError("example.org: Name or service not known"), "or connect and run again (0.02 GB"),
        (HTTPError("example.org", 503, "busy", Message(), None), "download: refused with status 503)"),
        (OSError(28, "No space left on device"), "download: No space left on device)"),
        (OSError(28, "No space left on device"), "or mend that and run again (0.02 GB"),
        (hub_error(HfHubHTTPError), "download: refused with status 403)"),
        (hub_error(EntryNotFoundError), "download: the repository has no such file)"),
        (hub_error(LocalEntryNotFoundError), "download: no connection)"),
        (hub_error(GatedRepoError), "weights are gated (by their owner). Licence: apache-2.0. Not found"),
        (hub_error(GatedRepoError), "download: refused with status 403). Accept the terms on"),
    ],
)
def test_a_failed_download_is_explained_without_addresses(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Online, the reason is given in a few words; the addresses in a library's error are not passed on."""
    set_hub(monkeypatch, error)
    message = failure(context(offline=False), MissingDataError)
    assert words in message
    assert "example.org" not in message
    assert "--offline" not in message


def test_a_wrong_source_is_explained() -> None:
    """A source that is not the name of a repository is weights not found, not a crash."""
    wrong = card("resnet18", weights={"source": "hf-hub:a/b/c"})
    assert "not the name of a repository" in failure(context(card=wrong, offline=False), MissingDataError)


def test_models_without_published_weights_say_so() -> None:
    """A card without a source asks for a file."""
    message = failure(context(card=card("resnet18", weights=None)), MissingDataError)
    assert message == "tiny-net: has no published weights: pass tiny-net,weights=FILE, or use untrained:tiny-net"
    message = failure(context(weights=Path("nowhere.bin")), MissingDataError)
    assert "tiny-net,weights=nowhere.bin: no such file" in message


def test_advice_is_what_can_be_typed() -> None:
    """For a timm model the advice is its model string, because no card of that name is registered."""
    asked = BuildContext(timm_card("resnet18", DataContext()), cache=Path("cache"), offline=True)
    message = failure(asked, MissingDataError)
    assert "pass timm:resnet18,weights=PATH" in message
    assert "untrained:timm:resnet18 runs" in message


def test_another_file_than_the_card_names_is_refused(folder: Path) -> None:
    """A checksum on the card is compared with the file of a mirror; a file of one's own choice is not."""
    path = folder / "lab/tiny-net/model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    right = "9ae0dc6b9be1a4e8"
    asked = context(data_dirs=(folder,))
    found = hash_weights(asked)
    for digest in (found, found[:8]):
        named = card("resnet18", weights={"source": "hf-hub:lab/tiny-net", "sha256": digest})
        assert hash_weights(replace(asked, card=named)) == found
    named = card("resnet18", weights={"source": "hf-hub:lab/tiny-net", "sha256": right})
    with pytest.raises(MissingDataError, match=f"expected sha256 {right}…, found {found[:16]}…"):
        hash_weights(replace(asked, card=named))
    assert hash_weights(replace(asked, card=named, options={"weights": str(path)})) == found


def test_identity_follows_the_weights(folder: Path) -> None:
    """Other weights make another model; a twin does not ask for weights at all."""
    path = folder / "model.safetensors"
    asked = context(weights=path)
    model = RequestedModel(ModelRequest("tiny-net"), asked.card, load_registry().origin("model", "resnet18"))
    digests = []
    for content in (b"one", b"two", b"one"):
        path.write_bytes(content)
        digests.append(identify(model, asked))
    assert digests[0].digest != digests[1].digest
    assert digests[0] == digests[2]
    twin = replace(model, request=ModelRequest("tiny-net", untrained=True))
    assert identify(twin, replace(asked, options={}, untrained=True)).weights == ""


def test_alexnet_loads_torchvisions_file(folder: Path) -> None:
    """A torchvision state dict at DIR/torchvision/alexnet is found; its classifier belongs to the network."""
    from torchvision.models import alexnet

    torch.manual_seed(1)
    network = alexnet(weights=None).eval()
    shipped = load_registry().cards["alexnet"]
    path = folder / "torchvision/alexnet/alexnet-owt-7be5be79.pth"
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    asked = BuildContext(shipped, data_dirs=(folder,), cache=folder / "cache", offline=True)
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256), dtype=np.uint8)
    answer = build_alexnet(asked).embed(Batch(("a",), "image", images=images), ["features", "fc7"])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (shipped.input.mean, shipped.input.std))
    pixels = ((torch.from_numpy(images).float() / 255 - mean) / std)[:, :, 16:240, 16:240]
    with torch.inference_mode():
        hidden = network.classifier[:-1](network.avgpool(network.features(pixels)).flatten(1))
    np.testing.assert_allclose(answer["fc7"], hidden.numpy(), rtol=0, atol=1e-5)
    with pytest.raises(MissingDataError, match="is not the file its card names: expected sha256 7be5be79"):
        hash_weights(asked)
    torch.save(network.state_dict() | {"classifier.9.weight": torch.zeros(2)}, path)
    with pytest.raises(MissingDataError, match=r"1 unexpected \(first: classifier\.9\.weight\)"):
        build_alexnet(asked)
    path.unlink()
    with pytest.raises(MissingDataError, match="at DIR/torchvision/alexnet/"):
        build_alexnet(asked)


def test_a_header_length_that_begins_like_a_pickle_is_read(folder: Path) -> None:
    """The first byte of a safetensors file is part of a length, and may be the one that opens a pickle."""
    path, want = folder / "model.safetensors", {"x": torch.arange(3.0)}
    for pad in range(0, 4096, 8):
        save_file(want, path, metadata={"pad": "x" * pad})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert torch.equal(read_state(path)["x"], want["x"])
