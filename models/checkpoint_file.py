"""Tensors from a weights file: safetensors, or torch files read without running any code in them."""

from __future__ import annotations

import json
import pickle
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


def read_state(path: Path) -> Mapping[str, Any]:
    """Read the tensors of a weights file on the CPU; the kind is told from the content, not from the name.

    Returns:
        Name -> tensor; a torch file may nest further mappings.

    Raises:
        MissingDataError: a pickle that would run code when it is read; it is refused.
        DamagedFileError: truncated, or no weights at all.
    """
    with path.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(_TORCH_STARTS):
        return _read_torch(path)
    header = int.from_bytes(start[:_HEADER], "little")
    if start[_HEADER : _HEADER + 1] == b"{" and header < 1 << 30:
        return _read_safetensors(path, header)
    raise DamagedFileError(f"{path}: neither a safetensors nor a torch file: {_guess(start)}; download it again")


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise MissingDataError(
            f"{path}: refused: reading it would run code stored in the file ({reason}); ask its authors for "
            "safetensors, or save a plain state dict with torch.save(model.state_dict(), PATH)"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DamagedFileError(f"{path}: cannot be read ({reason}); download it again") from error
    if not isinstance(state, Mapping):
        raise DamagedFileError(f"{path}: expected a state dict (name -> tensor), found {type(state).__name__}")
    return state


def _read_safetensors(path: Path, header: int) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Any] = load_file(path)
        return state
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        expected = _expected_size(path, header)
        told = f"{size:,} bytes, its header promises {expected:,}" if expected else f"{size:,} bytes, header cut off"
        raise DamagedFileError(f"{path}: truncated or damaged ({told}: {error}); download it again") from error


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


def _guess(start: bytes) -> str:
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, the file itself was never fetched"
    if start.lstrip()[:1] == b"<":
        return "a web page, perhaps a login or error page"
    return f"empty or unknown, first bytes {start[:16]!r}"
