"""Tensors from a weights file: safetensors, or torch files read without running any code in them."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from harness.errors import DamagedFileError, MissingDataError

_TORCH_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of a torch file: a zip archive, or a pickle of old."""
_HEADER = 8
"""Bytes of a safetensors file that give the length of its JSON header."""
_PIECE = 1 << 28
"""Bytes of tensors after which a file is opened anew."""


def read_state(path: Path) -> Mapping[str, Any]:
    """Read the tensors of a weights file on the CPU; the kind is told from the content, not from the name.

    Returns:
        Name -> tensor; a torch file may nest further mappings.

    Raises:
        MissingDataError: a pickle that would run code when it is read; it is refused.
        DamagedFileError: truncated, or no weights at all.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
        size = stream.seek(0, os.SEEK_END)
    header = int.from_bytes(start[:_HEADER], "little")
    if start[_HEADER : _HEADER + 1] == b"{" and header < 1 << 30:  # first: a length may begin like a pickle
        return _read_safetensors(path, header)
    if start.startswith(_TORCH_STARTS):
        return _read_torch(path)
    raise DamagedFileError(f"{path}: neither a safetensors nor a torch file: {_guess(start, size)}; download it again")


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as stream, warnings.catch_warnings():  # of a path, torch judges the kind by its ending
            warnings.simplefilter("ignore", UserWarning)  # what is wrong with a file is said once, by us
            state = torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MissingDataError(_refuse(path, str(error))) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, struct.error, zipfile.BadZipFile) as error:
        if "TorchScript" in str(error):
            raise MissingDataError(_refuse(path, "GLOBAL TorchScript")) from None
        raise DamagedFileError(
            f"{path}: cannot be read, {path.stat().st_size:,} bytes ({_first_line(error)}); download it again"
        ) from error
    if not isinstance(state, Mapping):
        raise DamagedFileError(f"{path}: expected a state dict (name -> tensor), found {type(state).__name__}")
    return state


def _refuse(path: Path, problem: str) -> str:
    """Say what the file holds beside tensors; torch's own advice, to read it all the same, is not passed on."""
    named = re.search(r"GLOBAL (\S+)|(Unsupported operand \d+)", problem)
    found = (named[1] or named[2]) if named else "more than tensors"
    return (
        f"{path}: refused: reading it would run code stored in the file ({found}); ask its authors for safetensors, or "
        "save a plain state dict with torch.save(model.state_dict(), PATH)"
    )


def _read_safetensors(path: Path, header: int) -> Mapping[str, Any]:
    from safetensors import SafetensorError

    state: dict[str, Any] = {}
    try:
        while _read_some(path, state):
            pass
        return state
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        expected = _expected_size(path, header)
        told = f"{size:,} bytes, its header promises {expected:,}" if expected else f"{size:,} bytes, header cut off"
        raise DamagedFileError(f"{path}: truncated or damaged ({told}: {error}); download it again") from error


def _read_some(path: Path, state: dict[str, Any]) -> bool:
    """Copy the next tensors of a file, and let go of its mapped pages; tell whether there may be more.

    Each tensor gets aligned memory of its own, and a file that is replaced while a run uses it changes nothing. Pages
    once mapped count as memory in use until the file is closed, hence not all at once.
    """
    from safetensors import safe_open

    copied = 0
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dict
            if name not in state:
                state[name] = file.get_tensor(name).clone()
                copied += state[name].nbytes
            if copied > _PIECE:
                return True
    return False


def _expected_size(path: Path, header: int) -> int | None:
    with path.open("rb") as stream:
        stream.seek(_HEADER)
        text = stream.read(header)
    try:
        entries = json.loads(text)
        ends = [int(entry["data_offsets"][1]) for name, entry in entries.items() if name[0] != "_"]
        return _HEADER + header + max(ends)
    except (ValueError, KeyError, TypeError, IndexError):  # the header itself is cut off or no header
        return None


def _guess(start: bytes, size: int) -> str:
    seen = f"{size:,} bytes, first bytes {start[:16]!r}"
    if start.startswith(b"version https://git-lfs"):
        promised = re.search(rb"size (\d+)", start)
        expected = f", expected {int(promised[1]):,} bytes" if promised else ""
        return f"a Git LFS pointer, the file itself was never fetched ({seen}{expected})"
    if start.lstrip()[:1] == b"<":
        return f"a web page, perhaps a login or error page ({seen})"
    return f"empty or unknown ({seen})"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
