"""What is published: results merged into a leaderboard, every score with its distance to the shortcut baselines."""

from __future__ import annotations

from harness.board import Leaderboard
from harness.hookspecs import hookimpl
from harness.results import Result


@hookimpl
def harness_merge(results: list[Result]) -> Leaderboard:
    """Merge results that are in memory."""
    from .merge import merge
    from .read import LoadedResult

    return merge([LoadedResult(result) for result in results])


@hookimpl
def harness_commands() -> dict[str, tuple[str, str]]:
    """Offer ``harness leaderboard``."""
    home = "harness.leaderboard.commands:leaderboard"
    return {"leaderboard": (home, "Merge results into a leaderboard, show and check it.")}


@hookimpl
def harness_diagnostics() -> dict[str, str]:
    """Offer the diagnostics that need embeddings."""
    return {"collapsed": "harness.leaderboard.diagnostics.collapse:diagnose"}
