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
        "image-table": "harness.tasks.datasets.screens.image_table:READER",
        "jump": "harness.tasks.datasets.jump.reader:READER",
        "profiles": "harness.tasks.datasets.screens.profiles:READER",
        "rxrx3": "harness.tasks.datasets.rxrx3.reader:READER",
        "synthetic": "harness.tasks.datasets.synthetic:READER",
    }


@hookimpl
def harness_protocols() -> dict[str, str]:
    """Offer the evaluation procedures."""
    return {
        "compound-gene": "harness.tasks.protocols.compound_gene:PROTOCOL",
        "expression-regression": "harness.tasks.protocols.expression_regression:PROTOCOL",
        "gene-recall": "harness.tasks.protocols.gene_recall:PROTOCOL",
        "linear-probe": "harness.tasks.protocols.linear_probe:PROTOCOL",
        "replicate-retrieval": "harness.tasks.protocols.replicate_retrieval:PROTOCOL",
        "trained-classifier": "harness.tasks.protocols.trained_classifier:PROTOCOL",
    }
