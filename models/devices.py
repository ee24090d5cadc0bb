"""Where and in which number format a model runs: a rule from the device's capability, never from a timing."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UsageError


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


def computes_bfloat16(device: str) -> bool:
    """Tell whether a device computes in bfloat16 natively."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    if device == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
