"""Plugins: built-in ones by name, third parties by entry point; a broken one is kept as data, not as a crash."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, TypeVar

import pluggy

from harness import hookspecs
from harness.cards import ModelCard
from harness.errors import HarnessError, PluginError, UnknownNameError

GROUP = "harness"
BUILT_IN = ("harness.tasks", "harness.models", "harness.leaderboard")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Origin:
    """Who registered something."""

    distribution: str
    version: str
    module: str

    def __str__(self) -> str:
        """Return ``distribution version``."""
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Broken:
    """A plugin, or one registration of it, that could not be used."""

    origin: Origin
    problem: str

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"plugin {self.origin.module} ({self.origin}): {self.problem}"


@dataclass
class Registry:
    """Everything that plugins offer, by name, with where it came from."""

    cards: dict[str, ModelCard] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    schemes: dict[str, str] = field(default_factory=dict)
    specs: dict[str, Path] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    protocols: dict[str, str] = field(default_factory=dict)
    diagnostics: dict[str, str] = field(default_factory=dict)
    commands: dict[str, tuple[str, str]] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    origins: dict[tuple[str, str], Origin] = field(default_factory=dict)
    refused: dict[tuple[str, str], list[Origin]] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    plugins: list[Origin] = field(default_factory=list)
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(GROUP))

    def spec_path(self, name: str) -> Path:
        """Return the YAML file of a registered task."""
        self.check_unique("task", name)
        if name not in self.specs:
            raise UnknownNameError("task", name, self.specs, "`harness tasks ls` lists all.")
        return self.specs[name]

    def origin(self, kind: str, name: str) -> Origin:
        """Return who registered ``name``."""
        return self.origins.get((kind, name), _own_origin("harness"))

    def owner(self, name: str) -> str | None:
        """Return the card that a name or alias of a model leads to, None for a free one."""
        return name if name in self.cards else self.aliases.get(name)

    def check_unique(self, kind: str, name: str) -> None:
        """Refuse a name that two plugins claim.

        Raises:
            PluginError: with both origins.
        """
        others = self.refused.get((kind, name))
        if others:
            first = self.origins[kind, name]
            raise PluginError(
                f"{kind} {name!r} is registered twice: by {first.module} ({first}) and by "
                + ", ".join(f"{other.module} ({other})" for other in others)
                + "; uninstall one of them, or ask its authors to rename"
            )

    def load(self, kind: str, table: dict[str, str], name: str) -> Any:
        """Import the object registered under a name.

        Raises:
            UnknownNameError: nothing is registered under it.
            PluginError: its module cannot be imported, or two plugins claim the name.
        """
        self.check_unique(kind, name)
        if name not in table:
            raise UnknownNameError(kind, name, table)
        return import_object(table[name], str(self.origin(kind, name)))


def import_object(reference: str, origin: str) -> Any:
    """Import ``package.module:object``.

    Raises:
        PluginError: the module fails to import or lacks the object.
    """
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except HarnessError:
        raise
    except Exception as error:
        raise PluginError(f"{reference} ({origin}) cannot be imported: {type(error).__name__}: {error}") from error


@cache
def load_registry() -> Registry:
    """Load the built-in plugins and every entry point of the group ``harness``, one by one; done once a process."""
    return assemble(entry_points(group=GROUP))


def assemble(points: Iterable[EntryPoint] = (), extra: Mapping[str, object] | None = None) -> Registry:
    """Load the built-in plugins, entry points and plugin objects.

    Args:
        points: entry points of third parties.
        extra: plugin objects by name, for tests and notebooks.
    """
    registry = Registry()
    registry.manager.add_hookspecs(hookspecs)
    for module in BUILT_IN:
        _register(registry, importlib.import_module(module), _own_origin(module))
    for point in sorted(points, key=lambda point: (point.dist.name if point.dist else "", point.name)):
        _register_entry_point(registry, point)
    for name, plugin in (extra or {}).items():
        _register(registry, plugin, Origin("local", "0", name))
    _collect(registry)
    return registry


def _register_entry_point(registry: Registry, point: EntryPoint) -> None:
    dist = point.dist
    origin = Origin(dist.name if dist else "?", dist.version if dist else "?", point.value)
    try:
        plugin = point.load()
    except Exception as error:  # noqa: BLE001 - foreign code may fail in any way; the rest must go on
        registry.broken.append(Broken(origin, f"cannot be imported: {type(error).__name__}: {error}"))
        return
    _register(registry, plugin, origin)


def _register(registry: Registry, plugin: object, origin: Origin) -> None:
    try:
        registry.manager.register(plugin, name=origin.module)
        registry.manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        if registry.manager.has_plugin(origin.module):
            registry.manager.unregister(name=origin.module)
        registry.broken.append(Broken(origin, f"refused: {error}"))
        return
    registry.plugins.append(origin)


def _collect(registry: Registry) -> None:
    for origin, card in _offers(registry, "harness_models"):
        if not isinstance(card, ModelCard):
            registry.broken.append(Broken(origin, f"harness_models returned {type(card).__name__}, expected ModelCard"))
        elif _is_foreign_alias(registry, card.name):
            _refuse(registry, f"model {card.name!r}", registry.aliases[card.name], origin)
        elif _claim(registry, "model", card.name, registry.cards, card, origin=origin):
            _claim_aliases(registry, card, origin)
    for origin, path in _offers(registry, "harness_tasks"):
        files = sorted(Path(path).glob("**/*.yaml")) if Path(path).is_dir() else [Path(path)]
        for file in files:
            _claim(registry, "task", file.stem, registry.specs, file, origin=origin)
    tables: list[tuple[str, str, dict[str, Any]]] = [
        ("harness_model_schemes", "model scheme", registry.schemes),
        ("harness_datasets", "reader", registry.datasets),
        ("harness_protocols", "protocol", registry.protocols),
        ("harness_diagnostics", "diagnostic", registry.diagnostics),
        ("harness_commands", "command", registry.commands),
    ]
    for hook, kind, table in tables:
        for origin, (name, value) in _offers(registry, hook):
            _claim(registry, kind, name, table, value, origin=origin)


def _claim_aliases(registry: Registry, card: ModelCard, origin: Origin) -> None:
    """Let a card be asked for by its label, where that is free, and by its aliases, of which taken ones are told."""
    for alias in card.aliases:
        owner = registry.owner(alias) or card.name
        if owner == card.name:
            registry.aliases[alias] = card.name
        else:
            _refuse(registry, f"alias {alias!r} of model {card.name!r}", owner, origin)
    if card.label:
        registry.aliases.setdefault(card.label, card.name)


def _is_foreign_alias(registry: Registry, name: str) -> bool:
    """Tell whether a name is an alias, more than a label, of a card of another name."""
    owner = registry.aliases.get(name, name)
    return owner != name and name in registry.cards[owner].aliases


def _refuse(registry: Registry, what: str, owner: str, origin: Origin) -> None:
    """Record a name that leads to the card of somebody else already."""
    first = registry.origins["model", owner]
    told = f"already leads to {owner}, registered by {first.module} ({first})"
    registry.broken.append(Broken(origin, f"{what} refused: {told}"))


def _offers(registry: Registry, hook: str) -> Iterator[tuple[Origin, Any]]:
    """Call one hook plugin by plugin, so that a failure is attributed and costs nobody else."""
    at = {origin.module: origin for origin in registry.plugins}
    for implementation in getattr(registry.manager.hook, hook).get_hookimpls():
        origin = at[implementation.plugin_name]
        function: Callable[[], Any] = implementation.function
        try:
            offered = function()
            items = list(offered.items()) if isinstance(offered, dict) else list(offered)
        except Exception as error:
            if origin.module in BUILT_IN:
                raise
            registry.broken.append(Broken(origin, f"{hook} failed: {type(error).__name__}: {error}"))
            continue
        for item in items:
            yield origin, item


def _claim(registry: Registry, kind: str, name: str, table: dict[str, Value], value: Value, *, origin: Origin) -> bool:
    if name in table:
        first = registry.origins[kind, name]
        registry.refused.setdefault((kind, name), []).append(origin)
        registry.broken.append(
            Broken(origin, f"{kind} {name!r} refused: already registered by {first.module} ({first})")
        )
        return False
    table[name] = value
    registry.origins[kind, name] = origin
    return True


def _own_origin(module: str) -> Origin:
    try:
        return Origin("bioimage-harness", version("bioimage-harness"), module)
    except PackageNotFoundError:  # run from a source tree that was never installed
        return Origin("bioimage-harness", "unknown", module)
