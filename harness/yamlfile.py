"""YAML that refuses doubt: duplicate keys are errors, and every error names file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from harness.errors import MissingDataError, SpecError, nearest

Model = TypeVar("Model", bound=BaseModel)
Path_ = tuple[str | int, ...]
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlDocument:
    """A YAML mapping that remembers on which line of which file each of its keys stands."""

    def __init__(self, value: dict[str, Any], lines: dict[Path_, str]) -> None:
        """Keep the plain value and, for each key path, ``file:line``."""
        self.value = value
        self.lines = lines

    def where(self, path: Sequence[str | int]) -> str:
        """Return ``file:line`` of a key path, or of its nearest known parent."""
        for end in range(len(path), -1, -1):
            found = self.lines.get(tuple(path[:end]))
            if found:
                return found
        return "?"

    def validate(self, model: type[Model]) -> Model:
        """Build a pydantic model; every problem becomes one line ``file:line: key: what is wrong``.

        Raises:
            SpecError: with all problems at once.
        """
        try:
            return model.model_validate(self.value)
        except ValidationError as error:
            lines = [f"{self.where(loc)}: {explain(problem, model)}" for loc, problem in problems(error)]
            raise SpecError("\n".join(lines)) from None


def load_yaml(path: Path) -> YamlDocument:
    """Read one YAML mapping.

    Raises:
        MissingDataError: no such file.
        SpecError: not YAML, not a mapping, or a key that stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MissingDataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}:1: not UTF-8 text ({error})") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> YamlDocument:
    """Parse one YAML mapping from text; ``name`` stands for the file in messages."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None or not isinstance(root, yaml.MappingNode):
            raise SpecError(f"{name}:1: expected a mapping of keys to values")
        lines: dict[Path_, str] = {(): f"{name}:1"}
        _note_lines(root, (), name, lines)
        return YamlDocument(loader.construct_document(root), lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise SpecError(f"{name}:{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    finally:
        loader.dispose()


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``change`` over ``base``: mappings merge key by key, everything else is replaced.

    Example:
        >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
        {'a': {'x': 1, 'y': 3}}
    """
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def problems(error: ValidationError) -> list[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """List (key path, pydantic's description) of every problem."""
    return [(tuple(item["loc"]), dict(item)) for item in error.errors(include_url=False)]


def explain(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Put one pydantic problem into a sentence; an unknown key gets the nearest known ones."""
    loc = [str(part) for part in problem["loc"]]
    key = ".".join(loc) or "document"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1])
        near = nearest(loc[-1], known)
        return f"{key}: unknown key. " + (f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(known)}.")
    if problem["type"] == "missing":
        return f"{key}: required"
    shown = repr(problem["input"])
    detail = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key}: {detail}" + ("" if len(shown) > 60 or problem["type"] == "value_error" else f", got {shown}")


def _known_keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    current: Any = model
    for part in path:
        fields = getattr(current, "model_fields", {})
        if isinstance(part, int) or part not in fields:
            continue
        current = _model_in(fields[part].annotation)
    return sorted(getattr(current, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if hasattr(found, "model_fields"):
            return found
    return None


def _note_lines(node: yaml.Node, path: Path_, name: str, lines: dict[Path_, str]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = f"{name}:{item.start_mark.line + 1}"
            _note_lines(item, (*path, index), name, lines)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in seen:
            raise SpecError(
                f"{name}:{line}: {'.'.join(map(str, (*path, key)))}: key stands twice (first on line {seen[key]})"
            )
        seen[key] = line
        lines[(*path, key)] = f"{name}:{line}"
        _note_lines(value_node, (*path, key), name, lines)
