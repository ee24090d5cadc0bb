"""Settings in files: ``harness.yaml`` here beats the one in the user's config folder; both beat defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SpecError, nearest

FILE = "harness.yaml"
KEYS = {
    "data-dir": "data_dirs",
    "output": "output",
    "store": "store",
    "stages": "stages",
    "baselines": "baselines",
    "seeds": "seeds",
    "device": "device",
    "dtype": "dtype",
    "batch-size": "batch_size",
    "compile": "compile",
    "diagnostics": "diagnostics",
    "keep-data": "keep_data",
    "offline": "offline",
    "executor": "executor",
}
"""Long option names of ``harness eval`` that a file may set, with the names of their parameters."""


@dataclass(frozen=True)
class Setting:
    """One value in force and where it comes from."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """What the files and the environment set."""

    chosen: dict[str, Setting]

    def values_for_click(self) -> dict[str, Any]:
        """Return parameter name -> value, as click's default map takes it."""
        return {KEYS[key]: setting.value for key, setting in self.chosen.items()}


def load_settings() -> Settings:
    """Read the settings files that exist, strongest last, and ``HARNESS_DATA_DIR``.

    Raises:
        SpecError: a file holds a key that is no option, or is not YAML.
    """
    chosen: dict[str, Setting] = {}
    if os.environ.get("HARNESS_DATA_DIR"):
        folders = os.environ["HARNESS_DATA_DIR"].split(os.pathsep)
        chosen["data-dir"] = Setting(folders, "environment HARNESS_DATA_DIR")
    for path in settings_files():
        if path.is_file():
            chosen |= _read(path)
    return Settings(chosen)


def settings_files() -> list[Path]:
    """Return the places of settings files, weakest first."""
    import platformdirs

    return [Path(platformdirs.user_config_dir("bioimage-harness")) / FILE, Path.cwd() / FILE]


def _read(path: Path) -> dict[str, Setting]:
    from harness.yamlfile import load_yaml

    document = load_yaml(path)
    found: dict[str, Setting] = {}
    for key, value in document.value.items():
        where = document.where((key,))
        if key not in KEYS:
            near = nearest(str(key), KEYS)
            hint = f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(KEYS)}."
            raise SpecError(f"{where}: {key}: unknown setting. {hint}")
        listed = [value] if key == "data-dir" and isinstance(value, str) else value
        text = ",".join(map(str, listed)) if key == "seeds" and isinstance(listed, list) else listed
        found[key] = Setting(text, where)
    return found
