"""Where tests find what is not in the repository."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference folder lies beside the checkout only")


def reference_models() -> dict[str, dict[str, str]]:
    """Read the reference table of models, by name."""
    with (SHARED / "reference" / "models.csv").open(encoding="utf-8", newline="") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}
