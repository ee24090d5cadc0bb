"""Where and in which number format a model runs: a rule from the device's capability, never from a timing."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.cards import ModelCard
from harness.errors import UsageError

_MOST = {"cpu": 32, "mps": 64, "cuda": 128}
"""Samples a call that keep a device busy."""
_SAMPLE = 64 << 20
"""Bytes a sample of 224 px takes at most while it passes through a network: the widest layers of ResNets and of ViTs up
to 7 billion parameters need 10 to 50 MB in float32."""
_SHARE = 0.5
"""Part of the memory that weights and samples may take together."""


def place(device: str, dtype: str, allowed: Sequence[str]) -> tuple[str, str]:
    """Resolve ``auto`` for device and dtype.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        allowed: dtypes the card allows; an untrained twin has its trained partner's card and so its dtype.

    Returns:
        (device, dtype). ``auto`` is CUDA, else MPS, else the CPU; and bfloat16 where the device computes in it
        natively (CUDA from compute capability 8.0, CPUs with AVX512-BF16 or AMX) and the card allows it.

    Raises:
        UsageError: the device is absent, or the card does not allow the dtype.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if cuda else "mps" if mps else "cpu"
    if (device == "cuda" and not cuda) or (device == "mps" and not mps):
        raise UsageError(f"--device {device}: not available here; use --device cpu or auto")
    if dtype == "auto":
        native = computes_bfloat16(device)
        return device, "bfloat16" if native and "bfloat16" in allowed else "float32"
    if dtype not in allowed:
        raise UsageError(f"--dtype {dtype}: the model may be run in {', '.join(allowed)}")
    return device, dtype


def batch_size(device: str, card: ModelCard) -> int:
    """Resolve ``auto`` for the samples a call.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``.
        card: gives the size of the images and of the network.

    Returns:
        The most that keeps the device busy (32 on the CPU, 64 on MPS, 128 on CUDA), or the largest power of two of
        samples that fits into half of the device's memory beside the weights; at least 1.
    """
    most, memory = _MOST[device], _memory(device)
    if memory is None:
        return most
    sample = _SAMPLE * ((card.input.size or 224) / 224) ** 2
    fitting = int((_SHARE * memory - 4 * (card.expect.params or 0)) / sample)
    return max(1, min(most, 1 << max(0, fitting.bit_length() - 1))) if fitting > 0 else 1


def _memory(device: str) -> int | None:
    """Return all bytes of a device, free or not, or None where this system does not tell."""
    if device == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def computes_bfloat16(device: str) -> bool:
    """Tell whether a device computes in bfloat16 natively."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    if device == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
