"""Every hook is documented, offered by a built-in plugin, and shown to plugin authors."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from places import ROOT

from harness import hookspecs
from harness.cards import ModelCard
from harness.cli import main
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


class Aliases:
    """A plugin whose card goes by names that are taken, and by one that is free."""

    @hookspecs.hookimpl
    def harness_models(self):
        """Offer a card."""
        return [ModelCard(name="my-net", label="ResNet18", aliases=["UNIv2", "resnet18", "MyNet"], build="x:y")]


def test_an_alias_that_is_taken_is_told() -> None:
    """It leads where it led; the card is there under its own name and its free alias."""
    registry = assemble(extra={"faulty": Aliases()})
    assert [str(broken).partition("): ")[2].partition(" (")[0] for broken in registry.broken] == [
        "alias 'UNIv2' of model 'my-net' refused: already leads to uni2-h, registered by harness.models",
        "alias 'resnet18' of model 'my-net' refused: already leads to resnet18, registered by harness.models",
    ]
    assert (registry.owner("UNIv2"), registry.owner("resnet18"), registry.owner("MyNet")) == (
        "uni2-h",
        "resnet18",
        "my-net",
    )
    assert registry.owner("ResNet18") == "resnet18"


def test_a_name_that_is_an_alias_is_refused() -> None:
    """A card cannot take over the alias of another by its name."""

    class First:
        @hookspecs.hookimpl
        def harness_models(self):
            return [ModelCard(name="first", aliases=["second"], build="x:y"), ModelCard(name="second", build="x:y")]

    registry = assemble(extra={"faulty": First()})
    assert "model 'second' refused: already leads to first, registered by faulty" in str(registry.broken[0])
    assert (registry.owner("second"), "second" in registry.cards) == ("first", False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18", "'resnet18' is taken: registered by harness.models (bioimage-harness"),
        ("short", "'short' is taken, an alias of my-net: registered by faulty"),
    ],
)
def test_no_package_is_started_under_a_name_that_is_taken(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``models new`` names the owner and writes nothing."""

    class Short:
        @hookspecs.hookimpl
        def harness_models(self):
            return [ModelCard(name="my-net", aliases=["short"], build="x:y")]

    registry = assemble(extra={"faulty": Short()})
    monkeypatch.setattr("harness.plugins.load_registry", lambda: registry)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["models", "new", name])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
