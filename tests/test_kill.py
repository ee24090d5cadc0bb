"""Real tissue through separate processes: killed in the middle, and side by side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from places import ROOT, SHARED, needs_shared

pytestmark = needs_shared
SPOTS = 884
SHARDS = 4


def start(folder: Path, output: str) -> subprocess.Popen[bytes]:
    """Start an evaluation of single-conv, seed 0, on the real sections."""
    command = [
        sys.executable, "-Im", "harness", "eval", "--model", "single-conv", "--seeds", "0", "--baselines", "none",
        "--tasks", f"{ROOT}/examples/her2st/hest.yaml@image", "--data-dir", str(SHARED / "data"),
        "--store", str(folder / "store"), "--output", str(folder / output), "--batch-size", "16",
    ]  # fmt: skip
    variables = {**os.environ, "BIOIMAGE_HARNESS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def result(folder: Path, output: str) -> dict:
    """Read the one result of a run."""
    (path,) = (folder / output).rglob("*.json")
    return json.loads(path.read_text())


def shards(folder: Path) -> list[Path]:
    """List whole shards."""
    return sorted((folder / "store").rglob("shard-*.npz"))


def test_a_killed_run_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    """After SIGKILL only what was missing is computed, and the result equals that of a run in one piece."""
    process = start(tmp_path, "out")
    deadline = time.monotonic() + 120
    while not shards(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in shards(tmp_path)}
    assert 1 <= len(kept) < SHARDS
    assert start(tmp_path, "out").wait() == 0
    resumed = result(tmp_path, "out")
    assert resumed["provenance"]["n_embedded"] <= SPOTS - 256 * len(kept) + 256
    assert {path.name: path.stat().st_mtime_ns for path in shards(tmp_path) if path.name in kept} == kept
    whole_folder = tmp_path / "whole"
    assert start(whole_folder, "out").wait() == 0
    whole = result(whole_folder, "out")
    del resumed["provenance"], whole["provenance"]
    assert resumed == whole


def test_two_runs_share_a_store(tmp_path: Path) -> None:
    """Two processes at the same time on one store both end right, and the store verifies."""
    both = [start(tmp_path, "one"), start(tmp_path, "two")]
    assert [process.wait() for process in both] == [0, 0]
    first, second = result(tmp_path, "one"), result(tmp_path, "two")
    del first["provenance"], second["provenance"]
    assert first == second
    assert len(shards(tmp_path)) == SHARDS
