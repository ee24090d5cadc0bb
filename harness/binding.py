"""A task spec bound to the plugins it names, with every parameter checked and completed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from harness.errors import SpecError, UnknownNameError, UsageError, nearest
from harness.hashing import hash_value
from harness.plugins import Registry
from harness.specs import TaskSpec, load_spec_document
from harness.types import DatasetReader, EvaluationProtocol
from harness.yamlfile import YamlDocument, explain, merge

PARAMS = "protocol.params."


@dataclass(frozen=True)
class BoundTask:
    """A task spec together with the plugins that it names, parameters checked and completed.

    Attributes:
        spec: the validated spec.
        view: the one view asked for with ``NAME@VIEW``, or None.
        reader: opens the data.
        source: the reader's own keys of the ``source`` block.
        reader_params: the reader's share of ``protocol.params``.
        protocol: scores embeddings.
        protocol_params: the protocol's share of ``protocol.params``.
        spec_hash: sha256 over everything that shapes a score, defaults included.
        changed: whether ``--set`` (or a file that borrows a shipped name) altered that hash.
        path: the YAML file.
        group_members: installed tasks that count in the mean of the spec's group.
    """

    spec: TaskSpec
    view: str | None
    reader: DatasetReader
    source: BaseModel
    reader_params: BaseModel
    protocol: EvaluationProtocol
    protocol_params: BaseModel
    spec_hash: str
    changed: bool
    path: Path
    group_members: tuple[str, ...] = ()


def bind(registry: Registry, path: Path, view: str | None, changes: Mapping[str, str]) -> BoundTask:
    """Load a spec, apply ``--set`` changes, bring in its reader and protocol, and check all parameters."""
    document = load_spec_document(path, registry.spec_path)
    task = _bind(registry, path, view, document)
    original = task.spec_hash
    shipped = registry.specs.get(task.spec.name)
    if shipped and shipped.resolve() != path.resolve():
        original = _bind(registry, shipped, None, load_spec_document(shipped, registry.spec_path)).spec_hash
    if changes:
        altered = merge(document.value, _tree(changes))
        task = _bind(registry, path, view, YamlDocument(altered, document.lines))
    return replace(task, changed=task.spec_hash != original, group_members=_members(registry, task.spec.group))


def _members(registry: Registry, group: str | None) -> tuple[str, ...]:
    """Name the installed tasks that count in the mean of a group; remembered in the registry."""
    if group is not None and group not in registry.groups:
        documents = {
            name: load_spec_document(path, registry.spec_path).value for name, path in sorted(registry.specs.items())
        }
        registry.groups[group] = tuple(
            name
            for name, value in documents.items()
            if value.get("group") == group and value.get("in_group_mean", True)
        )
    return registry.groups.get(group or "", ())


def _tree(changes: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, text in changes.items():
        if not key.startswith(PARAMS) or key == PARAMS:
            raise UsageError(f"--set {key}={text}: only {PARAMS}KEY can be changed for one run")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"--set {key}={text}: the value is not valid YAML") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        tree = merge(tree, value)
    return tree


def _bind(registry: Registry, path: Path, view: str | None, document: YamlDocument) -> BoundTask:
    spec = document.validate(TaskSpec)
    if view is not None and view not in spec.input.views:
        raise UnknownNameError("view", view, spec.input.views, f"{spec.name} offers {', '.join(spec.input.views)}.")
    reader: DatasetReader = registry.load("reader", registry.datasets, spec.source.reader)
    protocol: EvaluationProtocol = registry.load("protocol", registry.protocols, spec.protocol.name)
    unknown = [
        metric.name
        for metric in spec.metrics
        if not any(fnmatchcase(metric.name, pattern) for pattern in protocol.metrics)
    ]
    if unknown:
        known = ", ".join(protocol.metrics)
        raise SpecError(
            f"{document.where(('metrics',))}: metrics: protocol {protocol.name} has no {', '.join(unknown)}; "
            f"known: {known}"
        )
    shares = _split(spec.protocol.params, reader, protocol, document)
    source = _check(reader.Source, spec.source.keys, document, ("source",))
    reader_params = _check(reader.Params, shares[0], document, ("protocol", "params"))
    protocol_params = _check(protocol.Params, shares[1], document, ("protocol", "params"))
    shaping = {
        "source": {"reader": spec.source.reader, **source.model_dump(mode="json")},
        "input": spec.input.model_dump(mode="json"),
        "protocol": spec.protocol.name,
        "params": {**reader_params.model_dump(mode="json"), **protocol_params.model_dump(mode="json")},
        "metrics": [metric.model_dump(mode="json") for metric in spec.metrics],
        "inference": spec.inference.model_dump(mode="json"),
    }
    return BoundTask(
        spec, view, reader, source, reader_params, protocol, protocol_params, hash_value(shaping), False, path
    )


def _split(
    params: Mapping[str, Any], reader: DatasetReader, protocol: EvaluationProtocol, document: YamlDocument
) -> tuple[dict[str, Any], dict[str, Any]]:
    of_reader, of_protocol = reader.Params.model_fields, protocol.Params.model_fields
    known = sorted({*of_reader, *of_protocol})
    wrong: list[str] = []
    for key in params:
        if key not in known:
            near = nearest(key, known)
            hint = f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(known)}."
            wrong.append(f"{document.where(('protocol', 'params', key))}: {PARAMS}{key}: unknown parameter. {hint}")
    if wrong:
        raise SpecError("\n".join(wrong))
    return {key: value for key, value in params.items() if key in of_reader}, {
        key: value for key, value in params.items() if key in of_protocol
    }


def _check(model: type[BaseModel], values: Mapping[str, Any], document: YamlDocument, at: Sequence[str]) -> BaseModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{document.where((*at, *item['loc']))}: {'.'.join(at)}.{explain(dict(item), model)}"
            for item in error.errors(include_url=False)
        ]
        raise SpecError("\n".join(lines)) from None
