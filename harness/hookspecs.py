"""The hooks: everything the engine knows of tasks, models and leaderboards comes through these.

The built-in plugins use the same hooks as third parties. A plugin is a module (or object) with functions marked
``@harness.hookimpl``, announced under the entry point group ``harness``.
"""

from __future__ import annotations

from pathlib import Path

import pluggy

from harness.board import Leaderboard
from harness.cards import ModelCard
from harness.results import Result
from harness.trainjob import Trained, TrainJob
from harness.types import DataContext, WeightsState

hookspec = pluggy.HookspecMarker("harness")
hookimpl = pluggy.HookimplMarker("harness")


@hookspec
def harness_models() -> list[ModelCard]:  # type: ignore[empty-body]
    """Return model cards. ``card.build`` names the function that builds the model when it is used."""


@hookspec
def harness_model_schemes() -> dict[str, str]:  # type: ignore[empty-body]
    """Return scheme -> ``module:function`` for model strings such as ``timm:ARCH``.

    The function takes the text after the colon and a :class:`harness.types.DataContext`, and returns a ModelCard.
    """


@hookspec
def harness_tasks() -> list[Path]:  # type: ignore[empty-body]
    """Return YAML files, or folders of YAML files, with one task spec each."""


@hookspec
def harness_datasets() -> dict[str, str]:  # type: ignore[empty-body]
    """Return reader name -> ``module:object`` of a :class:`harness.types.DatasetReader`."""


@hookspec
def harness_protocols() -> dict[str, str]:  # type: ignore[empty-body]
    """Return protocol name -> ``module:object`` of a :class:`harness.types.EvaluationProtocol`."""


@hookspec
def harness_diagnostics() -> dict[str, str]:  # type: ignore[empty-body]
    """Return diagnostic name -> ``module:function``; it takes (n, D) features and returns named fields."""


@hookspec
def harness_commands() -> dict[str, tuple[str, str]]:  # type: ignore[empty-body]
    """Return command name -> (``module:click_command``, one-line help); imported only when called."""


@hookspec(firstresult=True)
def harness_placement(device: str, dtype: str, allowed: list[str]) -> tuple[str, str] | None:
    """Resolve ``auto`` for device and dtype by a rule from the device's capability and what the card allows."""


@hookspec(firstresult=True)
def harness_batch_size(device: str, card: ModelCard) -> int | None:
    """Resolve ``--batch-size auto`` by a rule from the device's memory and the card, never from a timing."""


@hookspec(firstresult=True)
def harness_weights_state(card: ModelCard, context: DataContext) -> WeightsState | None:
    """Tell quickly, without opening a file or asking anybody, whether the weights of a card are at hand."""


@hookspec(firstresult=True)
def harness_train(job: TrainJob) -> Trained | None:
    """Train a network from its random initialisation, or take up where an interrupted training stopped."""


@hookspec(firstresult=True)
def harness_merge(results: list[Result]) -> Leaderboard | None:
    """Merge results into a leaderboard."""
