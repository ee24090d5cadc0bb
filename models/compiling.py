"""``--compile``: a network through torch's compiler, or as it is where the compiler fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from harness.errors import HarnessError

Read = Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]]
_log = logging.getLogger(__name__)


class Compiled:
    """Calls a compiled function; after its first failure, for good, the function itself.

    Compiling happens at the first call and takes minutes; it pays for many samples. The numbers differ by the
    rounding of sums.
    """

    def __init__(self, read: Read, name: str) -> None:
        """Prepare, without compiling yet."""
        self._read = read
        self._name = name
        self._fast: Read | None = torch.compile(read)

    def __call__(self, pixels: Tensor, stages: Sequence[str]) -> Mapping[str, Tensor]:
        """Run the network.

        Raises:
            RuntimeError: memory is exhausted, which is no fault of the compiler.
        """
        if self._fast is not None:
            try:
                return self._fast(pixels, tuple(stages))
            except HarnessError:
                raise
            except Exception as error:
                if "memory" in str(error).lower():
                    raise
                self._fast = None
                _log.warning(
                    "%s: torch.compile failed (%s: %s); it runs uncompiled",
                    self._name, type(error).__name__, str(error).strip().partition("\n")[0],
                )  # fmt: skip
        return self._read(pixels, stages)
