"""What a training run keeps on disk: the state to resume from, the best weights so far, and the finished checkpoint."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn, optim

from harness.errors import DamagedFileError, UsageError
from harness.results import write_atomically
from harness.types import Scalar

_KEY = "bioimage-harness"
"""One entry of a safetensors header: with several, their order would change from run to run."""
_NETWORK, _OPTIMISER = "network.", "optimiser."
_PLACE = "tensor"
"""Key of a mapping that stands in JSON for a tensor; its value is the tensor's name in the file."""


@dataclass
class History:
    """How far a training run has come.

    Attributes:
        epochs: one mapping an epoch.
        best: number of the epoch whose weights are kept, counted from 1; 0 before the first.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best: int = 0


def save_state(
    path: Path, network: nn.Module, optimiser: optim.Optimizer, identity: Mapping[str, Scalar], history: History
) -> None:
    """Write all that the next epoch depends on.

    Raises:
        CannotWriteError: the disk refuses.
    """
    tensors = {_NETWORK + name: value for name, value in network.state_dict().items()}
    told = _take_out(optimiser.state_dict(), tensors)
    facts = {"identity": dict(identity), "epochs": history.epochs, "best": history.best, "optimiser": told}
    write(path, tensors, facts)


def load_state(
    path: Path, network: nn.Module, optimiser: optim.Optimizer, identity: Mapping[str, Scalar]
) -> History | None:
    """Take up a run where it stopped; None where there is nothing to take up.

    Raises:
        UsageError: the state is that of another training.
        DamagedFileError: the file cannot be read.
    """
    if not path.exists():
        return None
    tensors, facts = read(path)
    refuse_other(path, facts, identity)
    network.load_state_dict(_under(_NETWORK, tensors))
    told = _put_back(facts["optimiser"], tensors)
    told["state"] = {int(number): slots for number, slots in told["state"].items()}  # JSON knows text keys only
    optimiser.load_state_dict(told)
    return History([dict(one) for one in facts["epochs"]], int(facts["best"]))


def refuse_other(path: Path, facts: Mapping[str, Any], identity: Mapping[str, Scalar]) -> None:
    """Check that a file belongs to this training.

    Raises:
        UsageError: naming what differs.
    """
    theirs = facts.get("identity", {})
    differing = [key for key in sorted({*identity, *theirs}) if theirs.get(key) != identity.get(key)]
    if differing:
        told = ", ".join(f"{key} {theirs.get(key)!r} instead of {identity.get(key)!r}" for key in differing)
        raise UsageError(f"{path}: belongs to another training ({told}); move it away, or choose another --output")


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts as one safetensors file, whole or not at all."""
    from safetensors.torch import save

    ready = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(ready, {_KEY: json.dumps(facts, sort_keys=True)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write` wrote.

    Raises:
        DamagedFileError: truncated, or a file of something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()  # through one's own read: safetensors takes Ctrl-C in its own for a damaged file
        (length,) = struct.unpack_from("<Q", content)
        facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_KEY])
        return load(content), facts
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise DamagedFileError(
            f"{path}: expected a checkpoint of this harness, found a damaged or another file ({error}); delete it to "
            "train anew"
        ) from None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, shapes and values, whatever else the file says."""
    total = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        total.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        total.update(value.contiguous().numpy().tobytes())
    return total.hexdigest()


def _take_out(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a nested value as JSON takes it; tensors in it go to ``tensors``."""
    if isinstance(value, Tensor):
        name = f"{_OPTIMISER}{len(tensors)}"
        tensors[name] = value
        return {_PLACE: name}
    if isinstance(value, dict):
        return {str(key): _take_out(item, tensors) for key, item in value.items()}
    return [_take_out(item, tensors) for item in value] if isinstance(value, list | tuple) else value


def _put_back(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo :func:`_take_out`."""
    if isinstance(value, dict):
        place = value.get(_PLACE)
        return tensors[place] if place else {key: _put_back(item, tensors) for key, item in value.items()}
    return [_put_back(item, tensors) for item in value] if isinstance(value, list) else value


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
