"""A task small enough for a test, in an empty folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

SPEC = """\
include: synthetic-mini
name: tiny-synthetic
protocol: {{params: {{per_class: {{train: {train}, val: {val}, test: {test}}}}}}}
"""


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch, *, train: int = 8, val: int = 3, test: int = 4) -> Path:
    """Work in a folder that holds ``tiny.yaml``, with a cache and settings of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BIOIMAGE_HARNESS_CACHE", str(folder / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    (folder / "tiny.yaml").write_text(SPEC.format(train=train, val=val, test=test))
    return folder
