"""Where a result lies on disk, and how it gets there without ever replacing another's."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from harness.describe import Outcome
from harness.errors import CannotWriteError, DamagedFileError
from harness.match import Pairing
from harness.modelstring import file_name
from harness.results import Result, UnitBlock, UnitsFile, dump_result, load_result, write_atomically


class Claim(NamedTuple):
    """Whose result a file holds."""

    spec: str | None
    data: str | None
    model: str
    status: str

    @classmethod
    def of(cls, result: Result) -> Claim:
        """Return the claim of a result."""
        return cls(result.task.spec_hash, result.task.data_hash, result.model.identity, result.status)


def refuse_others(output: Path, pairing: Pairing, claim: Claim) -> None:
    """Check before any work that no file of the pairing holds a result of something else.

    Raises:
        CannotWriteError: naming the file and what differs.
    """
    for stage in pairing.stages:
        _refuse_other(result_path(output, pairing, stage), claim)


def result_path(output: Path, pairing: Pairing, stage: str) -> Path:
    """Return ``OUTPUT/<task>[@<view>][+<8 hex>]/<model>[@<stage>].json``.

    The view is named where the task offers several, the hash where the spec was changed, and the stage where it is
    not the model's last.
    """
    task = pairing.task
    view = f"@{pairing.view}" if len(task.spec.input.views) > 1 else ""
    change = f"+{task.spec_hash[:8]}" if task.changed else ""
    depth = "" if stage == pairing.model.card.stages[-1] else f"@{stage}"
    return output / f"{task.spec.name}{view}{change}" / f"{file_name(str(pairing.model.request))}{depth}.json"


def write_outcome(outcome: Outcome, output: Path, pairing: Pairing) -> Path:
    """Write a result and, beside it, the atoms of its companion metrics.

    Raises:
        CannotWriteError: the folder refuses, or a result of another spec, data set or model lies there.
    """
    path = result_path(output, pairing, outcome.result.stage)
    _refuse_other(path, Claim.of(outcome.result))
    result = outcome.result
    if outcome.companions:
        content = units_table(outcome.companions)
        beside = path.with_suffix(".units.parquet")
        write_atomically(beside, content)
        digest = hashlib.sha256(content).hexdigest()
        result = result.model_copy(update={"units_file": UnitsFile(path=beside.name, sha256=digest)})
    for ending, file in outcome.files.items():
        write_atomically(path.with_suffix(f".{ending}"), file.read_bytes())
    write_atomically(path, dump_result(result).encode())
    return path


def units_table(blocks: Mapping[str, UnitBlock]) -> bytes:
    """Write the atoms of several metrics as one parquet table.

    Columns: metric, kind, reduce, undefined, unit (strings), fold, seed (int64), value, weight (double, nullable),
    cluster (string, nullable).
    """
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, list[object]] = {name: [] for name in _SCHEMA}
    for metric, block in blocks.items():
        size = len(block.unit)
        columns["metric"] += [metric] * size
        for name in ("kind", "reduce", "undefined"):
            columns[name] += [getattr(block, name)] * size
        for name in ("unit", "fold", "seed", "value"):
            columns[name] += getattr(block, name)
        columns["weight"] += block.weight or [None] * size
        columns["cluster"] += block.cluster or [None] * size
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in _SCHEMA.items()])
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns, schema=schema), buffer)
    return buffer.getvalue()


_SCHEMA = {
    "metric": "string", "kind": "string", "reduce": "string", "undefined": "string", "unit": "string",
    "fold": "int64", "seed": "int64", "value": "float64", "weight": "float64", "cluster": "string",
}  # fmt: skip


def _refuse_other(path: Path, mine: Claim) -> None:
    if not path.exists():
        return
    try:
        known = load_result(path)
    except DamagedFileError:  # a broken file is no result: it is replaced
        return
    theirs = Claim.of(known)
    if mine != theirs and known.status != "partial":  # a trial on a part of the samples makes room
        differs = ", ".join(name for name in Claim._fields if getattr(mine, name) != getattr(theirs, name))
        hint = " (its card, options, weights, code or library versions have changed)" if "model" in differs else ""
        raise CannotWriteError(
            f"{path}: holds a result of another {differs}{hint}; move it away, or choose another folder with --output"
        )
