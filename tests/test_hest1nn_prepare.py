"""Prepared pictures: resumed after any interruption, never read when damaged, never written by two at once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from harness.tasks.datasets import hest1nn_crops, hest1nn_prepare
from harness.tasks.datasets.hest1nn_draft import PictureJob
from harness.tasks.datasets.hest1nn_pictures import Pictures
from harness.tasks.datasets.hest1nn_prepare import BATCH, prepare_pictures, read_pictures
from harness.tasks.datasets.slide import open_slide
from hest1nn_factory import Grid, put_nuclei, write_grid
from hest_factory import cut
from places import ROOT

from harness.errors import CannotWriteError, DamagedFileError
from harness.progress import Silent
from harness.types import DataContext

N = 3 * BATCH + 10


class Source:
    """Makes pictures that are told from one another, and counts them; may fail at a row."""

    def __init__(self, fails_at: int | None = None) -> None:
        """Start with none made."""
        self.made: list[int] = []
        self.fails_at = fails_at

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        """Open."""

        def draw(row: int) -> np.ndarray:
            if row == self.fails_at:
                raise DamagedFileError(f"row {row}")
            self.made.append(row)
            return picture(row)

        yield draw


def picture(row: int) -> np.ndarray:
    """Return the picture of a row."""
    return np.full((6, 5), row % 251, dtype=np.uint8)


def job(folder: Path, source: Any) -> PictureJob:
    """Name a file of N pictures."""
    return PictureJob(folder / "a/S.h5", "Test", "image", tuple(f"S/{row}" for row in range(N)), (6, 5), source)


def expect(found: np.ndarray, start: int = 0) -> None:
    """Check pictures."""
    assert np.array_equal(found, np.stack([picture(row) for row in range(start, start + len(found))]))


def test_pictures_are_made_once(tmp_path: Path) -> None:
    """A second call makes none; the folder then holds the file alone."""
    source = Source()
    for _ in range(2):
        prepare_pictures(job(tmp_path, source), Silent())
    assert sorted(source.made) == list(range(N))
    expect(read_pictures(job(tmp_path, source), 0, N))
    expect(read_pictures(job(tmp_path, source), 70, 75), 70)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["S.h5"]
    with h5py.File(tmp_path / "a/S.h5") as file:
        assert file["id"][:2].tolist() == [b"S/0", b"S/1"]


def test_a_failure_keeps_what_was_made(tmp_path: Path) -> None:
    """After an error at a row, the next run begins at the batch of that row."""
    with pytest.raises(DamagedFileError, match="row 150"):
        prepare_pictures(job(tmp_path, Source(fails_at=150)), Silent())
    assert not (tmp_path / "a/S.h5").exists()
    again = Source()
    prepare_pictures(job(tmp_path, again), Silent())
    assert sorted(again.made) == list(range(2 * BATCH, N))
    expect(read_pictures(job(tmp_path, again), 0, N))


def flip(path: Path, row: int) -> None:
    """Change one pixel of a row behind the back of the checksums."""
    with h5py.File(path, "r+") as file:
        file["image"][row, 0, 0] = 255


def rename_row(path: Path) -> None:
    """Give a row another id."""
    with h5py.File(path, "r+") as file:
        file["id"][3] = b"S/x"


DAMAGES = {
    "truncated": cut,
    "no HDF5": lambda path: path.write_bytes(b"no"),
    "empty": lambda path: path.write_bytes(b""),
    "a flipped byte": lambda path: flip(path, 20),
    "other samples": rename_row,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_draft_is_begun_anew(tmp_path: Path, damage: str) -> None:
    """What cannot be trusted is made again, with a warning that says why."""
    with pytest.raises(DamagedFileError):
        prepare_pictures(job(tmp_path, Source(fails_at=150)), Silent())
    DAMAGES[damage](tmp_path / "a/S.h5.part")
    again, progress = Source(), Silent()
    prepare_pictures(job(tmp_path, again), progress)
    assert sorted(again.made) == list(range(N))
    expect(read_pictures(job(tmp_path, again), 0, N))
    (warning,) = progress.warnings
    assert "S.h5.part: " in warning
    assert "it is begun anew" in warning


@pytest.mark.parametrize("damage", ["truncated", "no HDF5", "other samples"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    """A finished file that is found damaged at first sight is replaced, with a warning."""
    prepare_pictures(job(tmp_path, Source()), Silent())
    DAMAGES[damage](tmp_path / "a/S.h5")
    again, progress = Source(), Silent()
    prepare_pictures(job(tmp_path, again), progress)
    assert len(again.made) == N
    assert "it is made again" in progress.warnings[0]


def test_a_changed_picture_is_never_delivered(tmp_path: Path) -> None:
    """A flipped bit in a finished file is found when its row is read, and the sample is named."""
    prepare_pictures(job(tmp_path, Source()), Silent())
    flip(tmp_path / "a/S.h5", 20)
    expect(read_pictures(job(tmp_path, Source()), 0, 20))
    with pytest.raises(DamagedFileError, match=r"S\.h5: image: the picture of S/20 has changed since"):
        read_pictures(job(tmp_path, Source()), 0, N)


@dataclass
class OneJob:
    """Makes one file."""

    job: PictureJob

    def facts(self) -> object:
        """Return nothing."""

    def plan(self) -> tuple[PictureJob, ...]:
        """Return the file."""
        return (self.job,)


@pytest.mark.parametrize("damage", ["a flipped byte", "truncated"])
def test_a_file_damaged_while_in_use_is_made_again_once(tmp_path: Path, damage: str) -> None:
    """The first damage costs a warning and a second preparation, the next one stops the run."""
    source, progress = Source(), Silent()
    pictures = Pictures(OneJob(job(tmp_path, source)), DataContext((), tmp_path, offline=True, progress=progress))
    expect(pictures.read(0, 0, N))
    DAMAGES[damage](tmp_path / "a/S.h5")
    expect(pictures.read(0, 0, N))
    assert len(source.made) == 2 * N
    (warning,) = progress.warnings
    assert warning.endswith("deleted and made again")
    DAMAGES[damage](tmp_path / "a/S.h5")
    with pytest.raises(DamagedFileError, match=r"S\.h5: .* was made again in this run: check the disk"):
        pictures.read(0, 0, N)


SCRIPT = textwrap.dedent(
    """
    import os, sys, time
    from contextlib import contextmanager
    from pathlib import Path
    import numpy as np
    from harness.progress import Silent
    from harness.tasks.datasets import hest1nn_prepare
    from harness.tasks.datasets.hest1nn_draft import PictureJob
    from harness.tasks.datasets.hest1nn_prepare import prepare_pictures

    hest1nn_prepare.BATCH = 8

    @contextmanager
    def source():
        def draw(row):
            time.sleep(0.004)
            os.write(1, f"{row}\\n".encode())
            return np.full((6, 5), row % 251, dtype=np.uint8)
        yield draw

    progress = Silent()
    ids = tuple(f"S/{row}" for row in range(int(sys.argv[2])))
    prepare_pictures(PictureJob(Path(sys.argv[1]) / "a/S.h5", "Test", "image", ids, (6, 5), source), progress)
    print(*progress.warnings, sep=chr(10), file=sys.stderr)
    """
)


def start(folder: Path) -> subprocess.Popen[str]:
    """Prepare in another process, eight rows a batch."""
    command = [sys.executable, "-c", SCRIPT, str(folder), str(N)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.parametrize("rows", [1, 30, 90])
def test_a_killed_process_is_resumed(tmp_path: Path, rows: int) -> None:
    """After SIGKILL in the middle of a batch, exactly the finished batches count."""
    process = start(tmp_path)
    assert process.stdout is not None
    seen = [int(process.stdout.readline()) for _ in range(rows)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    again, progress = Source(), Silent()
    prepare_pictures(job(tmp_path, again), progress)
    assert progress.warnings == []
    assert min(again.made) % 8 == 0
    assert min(again.made) >= max(seen) // 8 * 8 - 8  # the batch before the one that was being made is on disk
    assert sorted(again.made) == list(range(min(again.made), N))
    expect(read_pictures(job(tmp_path, again), 0, N))


def test_two_processes_share_the_work_in_turn(tmp_path: Path) -> None:
    """The second waits for the first and makes nothing; both end well."""
    first, second = start(tmp_path), start(tmp_path)
    (made, _), (others, _) = first.communicate(), second.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert sorted(len(text.split()) for text in (made, others)) == [0, N]
    expect(read_pictures(job(tmp_path, Source()), 0, N))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["S.h5"]


def test_a_waiting_process_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    """The lock of a killed process is free; who waited goes on from its last batch."""
    first = start(tmp_path)
    assert first.stdout is not None
    for _ in range(40):
        first.stdout.readline()
    second = start(tmp_path)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    made, _ = second.communicate()
    assert second.returncode == 0
    assert 0 < len(made.split()) < N
    expect(read_pictures(job(tmp_path, Source()), 0, N))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the way of the folder ends with an error that says what to do."""
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(CannotWriteError, match=r"S\.h5\.part: cannot be written .*free some space or move the cache"):
        prepare_pictures(job(tmp_path, Source()), Silent())


def test_a_full_disk_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says so, and once there is space the next run makes the rest."""
    append = hest1nn_prepare.append_rows

    def fail(one: PictureJob, file: h5py.File, first: int, rows: np.ndarray) -> None:
        if first >= 2 * BATCH:
            raise OSError(errno.ENOSPC, "Can't synchronously write data (file write failed:\n, offset = 20963328)")
        append(one, file, first, rows)

    monkeypatch.setattr(hest1nn_prepare, "append_rows", fail)
    with pytest.raises(CannotWriteError, match=r"cannot be written \(No space left on device\); pictures made so far"):
        prepare_pictures(job(tmp_path, Source()), Silent())
    monkeypatch.setattr(hest1nn_prepare, "append_rows", append)
    again = Source()
    prepare_pictures(job(tmp_path, again), Silent())
    assert sorted(again.made) == list(range(2 * BATCH, N))
    expect(read_pictures(job(tmp_path, again), 0, N))


# --- through the reader ---------------------------------------------------------------------------------------------


class FailingSlides:
    """Opens slides and counts crops; raises after so many."""

    def __init__(self, most: int | None = None) -> None:
        """Start with none."""
        self.crops = 0
        self._most, self._lock = most, threading.Lock()

    def __call__(self, path: Path) -> Any:
        """Open a slide whose crops are counted."""
        slide, crop = open_slide(path), None
        crop = slide.crop

        def counted(*args: Any, **options: Any) -> np.ndarray:
            with self._lock:
                self.crops += 1
                if self._most is not None and self.crops > self._most:
                    raise DamagedFileError(f"{path}: cannot be decoded")
            return crop(*args, **options)

        slide.crop = counted  # type: ignore[method-assign]
        return slide


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """Write a good task."""
    return write_grid(tmp_path_factory.mktemp("grid"), sizes=((4, 3), (7, 7), (3, 3)))


def test_crops_are_resumed_where_they_stopped(grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slide that fails in the middle leaves whole batches; later only the rest is read from it."""
    monkeypatch.setattr("harness.tasks.datasets.hest1nn_prepare.BATCH", 10)
    copy = grid.copy(tmp_path / "data")
    dataset = copy.open()
    first = dataset.section.index("B")
    failing = FailingSlides(most=27)
    monkeypatch.setattr(hest1nn_crops, "open_slide", failing)
    with pytest.raises(DamagedFileError, match="cannot be decoded"):
        dataset.read("image", first, first + 5)
    healthy = FailingSlides()
    monkeypatch.setattr(hest1nn_crops, "open_slide", healthy)
    again = copy.open()
    images = again.read("image", first, first + 49).images
    assert healthy.crops == 49 - 20
    monkeypatch.setattr(hest1nn_crops, "open_slide", FailingSlides(most=0))
    assert np.array_equal(copy.open().read("image", first, first + 49).images, images)
    whole = grid.copy(tmp_path / "whole").open()
    monkeypatch.setattr(hest1nn_crops, "open_slide", open_slide)
    assert np.array_equal(whole.read("image", first, first + 49).images, images)


def test_sections_are_prepared_when_they_are_read(grid: Grid, tmp_path: Path) -> None:
    """A share of the samples needs the sections it lies in only."""
    copy = grid.copy(tmp_path / "data")
    dataset = copy.open()
    dataset.read("image", 0, 3)
    prepared = [path.name for path in (copy.tree.root / "cache/prepared/hest1nn").glob("*/*.h5") if has(path, "image")]
    assert prepared == [f"{dataset.section[0]}.h5"]


def has(path: Path, name: str) -> bool:
    """Tell whether a file holds an array."""
    with h5py.File(path) as file:
        return name in file


@pytest.mark.parametrize(
    "change", ["slide", "nuclei", "pixel size", {"resize": "pad"}, {"filter": "linear"}, {"source": "adata"}, "limit"]
)
def test_whatever_shapes_crops_names_another_folder(grid: Grid, tmp_path: Path, change: Any) -> None:
    """Contents, lengths, geometry, options and the list of samples all are in the name of the folder."""
    copy = grid.copy(tmp_path / "data")
    dataset = copy.open()
    dataset.read("image", len(dataset.ids) - 1, len(dataset.ids))
    before = folders(copy)
    options: dict[str, Any] = {}
    if change == "slide":
        copy.slide("C").write_bytes(copy.slide("C").read_bytes() + b"\0")
    elif change == "nuclei":  # far fewer, so that other neighbourhoods are kept
        put_nuclei(copy, "C", copy.nuclei["C"][copy.nuclei["C"][:, 0] < 200])
    elif change == "pixel size":
        copy.set_metadata("C", pixel_size_um_estimated=0.501)
    elif change == "limit":
        options = {"limit": 20}
    else:
        options = {"nn": change}
    for _ in range(2):
        dataset = copy.open(**options)
        dataset.read("image", len(dataset.ids) - 1, len(dataset.ids))
    assert len(folders(copy)) == len(before) + 1


def folders(grid: Grid) -> set[str]:
    """Name the folders that hold crops."""
    files = (grid.tree.root / "cache/prepared/hest1nn").glob("*/*.h5")
    return {path.parent.name for path in files if has(path, "image")}
