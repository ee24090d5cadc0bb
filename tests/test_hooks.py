"""Every hook is documented, offered by a built-in plugin, and shown to plugin authors."""

from __future__ import annotations

import inspect

import pytest
from places import ROOT

from harness import hookspecs
from harness.cards import ModelCard
from harness.plugins import assemble, load_registry

HOOKS = sorted(name for name, value in vars(hookspecs).items() if name.startswith("harness_") and callable(value))


def test_there_are_hooks() -> None:
    """The list is not empty by accident."""
    assert {"harness_models", "harness_tasks", "harness_datasets", "harness_protocols", "harness_commands"} <= set(
        HOOKS
    )


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_documented_and_used(name: str) -> None:
    """It has a docstring, stands in docs/plugins.md, and a built-in plugin implements it."""
    assert inspect.getdoc(getattr(hookspecs, name))
    assert f"`{name}`" in (ROOT / "docs/plugins.md").read_text()
    assert getattr(load_registry().manager.hook, name).get_hookimpls()


class Misspelt:
    """A plugin with a hook that does not exist."""

    @hookspecs.hookimpl
    def harness_modells(self):
        """Offer nothing."""
        return []


class Raising:
    """A plugin whose hook fails."""

    @hookspecs.hookimpl
    def harness_models(self):
        """Fail."""
        raise ValueError("no licence")


class WrongType:
    """A plugin that offers something else than cards."""

    @hookspecs.hookimpl
    def harness_models(self):
        """Offer text."""
        return ["resnet18"]


class Shadow:
    """A plugin that claims a name that is taken."""

    @hookspecs.hookimpl
    def harness_datasets(self):
        """Claim the reader of the built-in plugin."""
        return {"hest": "nowhere:READER"}


class ShadowCard:
    """A plugin that claims the name of a built-in model."""

    @hookspecs.hookimpl
    def harness_models(self):
        """Offer another resnet18."""
        return [ModelCard(name="resnet18", build="nowhere:build")]


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Misspelt(), "harness_modells"),
        (Raising(), "harness_models failed: ValueError: no licence"),
        (WrongType(), "harness_models returned str, expected ModelCard"),
        (ShadowCard(), "model 'resnet18' refused: already registered by harness.models"),
        (Shadow(), "reader 'hest' refused: already registered by harness.tasks"),
    ],
)
def test_a_faulty_plugin_is_kept_as_data(plugin: object, words: str) -> None:
    """What it did wrong is said once, and everything else is there."""
    registry = assemble(extra={"faulty": plugin})
    assert [words in str(broken) for broken in registry.broken] == [True]
    assert "resnet18" in registry.cards
    assert registry.datasets["hest"].startswith("harness.tasks")
