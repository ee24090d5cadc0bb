"""Pixels from ordinary memory to a device; on CUDA through two pinned buffers, beside the computation."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Images = NDArray[np.uint8] | NDArray[np.float32]
_BUFFERS = 2
"""One is copied from while the other is filled."""
_WAITING = 4
"""Batches on the device that are kept for their turn: as many as are read ahead, and one more."""


@dataclass(eq=False)
class _Sent:
    """A copy under way."""

    images: Images
    pixels: Tensor
    done: torch.cuda.Event


class Transfer:
    """Moves images to a device; what was sent before, from another thread, is there already when it is taken."""

    def __init__(self, device: str) -> None:
        """Open a stream of its own on CUDA; elsewhere nothing is to be gained."""
        self._device = device
        self._stream: torch.cuda.Stream | None = torch.cuda.Stream() if device == "cuda" else None  # type: ignore[no-untyped-call]
        self._buffers: list[Tensor | None] = [None] * _BUFFERS
        self._free: list[torch.cuda.Event | None] = [None] * _BUFFERS
        self._turn = 0
        self._sent: deque[_Sent] = deque(maxlen=_WAITING)
        self._lock = Lock()

    def send(self, images: Images) -> None:
        """Begin to copy images and return; does nothing but on CUDA."""
        if self._stream is None:
            return
        try:
            pinned = self._pinned(as_tensor(_distinct(images)))
            with torch.cuda.stream(self._stream):
                pixels = pinned.to(self._device, non_blocking=True).expand(images.shape)
        except RuntimeError:  # no memory for a batch in advance: it is copied when it is its turn
            return
        done: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(self._stream)
        self._free[self._turn] = done
        self._turn = (self._turn + 1) % _BUFFERS
        with self._lock:
            self._sent.append(_Sent(images, pixels, done))

    def take(self, images: Images) -> Tensor:
        """Return images on the device, (N, C, H, W) of their number format and memory order."""
        with self._lock:
            found = next((one for one in self._sent if one.images is images), None)
            if found is not None:
                self._sent.remove(found)
        if found is not None:
            current = torch.cuda.current_stream()
            current.wait_event(found.done)
            found.pixels.record_stream(current)
            return found.pixels
        return as_tensor(_distinct(images)).to(self._device).expand(images.shape)

    def _pinned(self, source: Tensor) -> Tensor:
        """Copy into the buffer whose turn it is, once its last copy to the device is over."""
        buffer, busy = self._buffers[self._turn], self._free[self._turn]
        if busy is not None:
            busy.synchronize()
        if buffer is None or (buffer.shape, buffer.stride(), buffer.dtype) != (
            source.shape, source.stride(), source.dtype,
        ):  # fmt: skip
            buffer = torch.empty_like(source, pin_memory=True)
            self._buffers[self._turn] = buffer
        return buffer.copy_(source)


def _distinct(images: Images) -> Images:
    """Return one channel where all are views of the first one: it travels once, and is spread on the device."""
    return images if images.strides[1] else images[:, :1]


def as_tensor(images: Images) -> Tensor:
    """Wrap images without a copy where torch can: it takes neither read-only arrays nor negative strides."""
    if not images.flags.writeable or min(images.strides) < 0:
        images = images.copy(order="K")
    return torch.from_numpy(images)
