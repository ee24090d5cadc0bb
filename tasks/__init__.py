"""What is asked: task specs, the readers that open their data, and the protocols that score embeddings."""

from __future__ import annotations

from pathlib import Path

from harness.hookspecs import hookimpl


@hookimpl
def harness_tasks() -> list[Path]:
    """Offer the shipped specs."""
    return [Path(__file__).parent / "specs"]


@hookimpl
def harness_datasets() -> dict[str, str]:
    """Offer the readers."""
    return {
        "hest": "harness.tasks.datasets.hest:READER",
        "hest1nn": "harness.tasks.datasets.hest1nn:READER",
        "synthetic": "harness.tasks.datasets.synthetic:READER",
    }


@hookimpl
def harness_protocols() -> dict[str, str]:
    """Offer the evaluation procedures."""
    return {
        "expression-regression": "harness.tasks.protocols.expression_regression:PROTOCOL",
        "linear-probe": "harness.tasks.protocols.linear_probe:PROTOCOL",
        "trained-classifier": "harness.tasks.protocols.trained_classifier:PROTOCOL",
    }
