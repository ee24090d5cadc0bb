"""The package as others get it: the wheel, third-party plugins, start-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from places import ROOT, SHARED, needs_shared

PLUGINS = Path(__file__).parent / "plugins"
HEAVY = ("matplotlib", "torch", "timm", "torch_geometric", "sklearn", "datasets", "pandas", "scipy", "torchvision")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment with the wheel and both plugins that sees this one's packages; return its bin folder."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    install = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    install += ["--no-build-isolation", "--target", str(site), str(wheel)]
    subprocess.run([*install, str(PLUGINS / "good"), str(PLUGINS / "broken")], check=True, capture_output=True)
    seen = next(path for path in map(Path, sys.path) if path.name == "site-packages" and path.is_dir())
    (site / "z_outer.pth").write_text(f"{seen}\n")
    return folder / "bin"


def harness(environment: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line of the environment, outside the source tree."""
    command = [str(environment / "python"), "-Im", "harness", *arguments]
    variables = {**os.environ, "COLUMNS": "160"}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd or environment, env=variables, check=False, timeout=300
    )


def test_the_wheel_holds_every_folder_and_every_yaml(wheel: Path) -> None:
    """Only the name `harness` lands in site-packages, with all modules, cards, specs and the py.typed marker."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"harness"}
    for folder in ("tasks", "models", "leaderboard"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml") and "__pycache__" not in path.parts:
                assert f"harness/{path.relative_to(ROOT).as_posix()}" in names
    for path in (ROOT / "harness").rglob("*.py"):
        assert path.relative_to(ROOT).as_posix() in names
    assert "harness/py.typed" in names


def test_the_list_of_packages_is_the_tree() -> None:
    """Every Python folder stands in pyproject.toml, so that no room is forgotten in the wheel."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = set()
    for top in ("harness", "tasks", "models", "leaderboard"):
        for init in (ROOT / top).rglob("__init__.py"):
            dotted = ".".join(init.parent.relative_to(ROOT).parts)
            found.add(dotted if top == "harness" else f"harness.{dotted}")
    assert listed == found


def test_a_plugin_appears_with_its_distribution_and_version(environment: Path) -> None:
    """Models ls names who brought the model; the broken plugin is reported once and stops nothing."""
    done = harness(environment, "models", "ls")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("corner-pixel"))
    assert "harness-corner-pixel 1.2.3" in row
    assert done.stderr.count("its licence server is asleep") == 1
    assert "broken_pixel" in done.stderr


def test_doctor_names_the_broken_plugin(environment: Path) -> None:
    """Doctor lists plugins and what is broken."""
    done = harness(environment, "doctor")
    assert done.returncode == 0, done.stderr
    assert "harness-corner-pixel 1.2.3" in done.stdout
    assert "RuntimeError: its licence server is asleep" in done.stdout


@needs_shared
def test_a_plugin_evaluates_on_real_tissue(environment: Path, tmp_path: Path) -> None:
    """A third-party model runs from an installed wheel, outside the source tree."""
    done = harness(
        environment, "eval", "--model", "corner-pixel", "--tasks", f"{ROOT}/examples/her2st/hest.yaml@image",
        "--data-dir", str(SHARED / "data"), "--store", str(tmp_path / "store"), "--output", str(tmp_path / "out"),
        "--baselines", "none", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert result["provenance"]["plugin"] == "harness-corner-pixel 1.2.3"
    assert -1 <= result["metrics"]["pcc"]["value"] <= 1
    assert (tmp_path / "out/hest-her2st@image/corner-pixel.json").is_file()


@pytest.mark.parametrize(("arguments", "seconds"), [(["--help"], 0.3), (["tasks", "ls"], 0.6), (["models", "ls"], 0.6)])
def test_starting_is_light(arguments: list[str], seconds: float) -> None:
    """Listing imports no heavy library and stays within its CPU budget (best of five)."""
    program = (
        "import resource, sys, atexit, contextlib\n"
        "def told():\n"
        "    used = resource.getrusage(resource.RUSAGE_SELF)\n"
        f"    heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    print('USED', used.ru_utime + used.ru_stime, heavy, file=sys.stderr)\n"
        "atexit.register(told)\n"
        "from harness.cli import main\n"
        f"main({arguments!r})\n"
    )
    best = 1e9
    for _ in range(5):
        done = subprocess.run([sys.executable, "-Ic", program], capture_output=True, text=True, check=True)
        words = next(line for line in done.stderr.splitlines() if line.startswith("USED")).split(maxsplit=2)
        assert words[2] == "[]"
        best = min(best, float(words[1]))
    assert best < seconds
