"""What a reader of a gene recall should know, and what was computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.errors import UnknownNameError
from harness.types import Field

from ..metrics.recall import PER_QUERY
from .gene_recall_params import Params
from .gene_recall_units import FoldMaps

_SHOWN = 3


def check_expected(params: Params, sources: Sequence[str]) -> None:
    """Refuse an expected number of pairs for a source that the task does not have.

    Raises:
        UnknownNameError: naming it.
    """
    for source in params.expected_pairs:
        if source not in sources:
            raise UnknownNameError(
                "source of protocol.params.expected_pairs", source, sources, f"Known: {', '.join(sources)}."
            )


def write_notes(folds: Sequence[FoldMaps], params: Params) -> tuple[str, ...]:
    """Write one sentence for each thing that is odd, each once."""
    return tuple(dict.fromkeys(note for fold in folds for note in _of_fold(fold, params)))


def _of_fold(fold: FoldMaps, params: Params) -> Iterator[str]:
    for source, pairs in fold.layout.pairs.items():
        expected = params.expected_pairs.get(source, len(pairs))
        if not len(pairs):
            yield (
                f"fold {fold.number}: no known pair of {source} has both genes in the map, so that its recall and the "
                "mean over sources are undefined; leave it out of the lists that the task "
                "names (protocol.params.sources of rxrx3, source.relations of a screen) to have a mean of the others"
            )
        if len(pairs) != expected:
            yield f"fold {fold.number}: the map holds {len(pairs)} known pairs of {source}, expected {expected}"
    if params.null_rows == "all":
        yield "null_rows: all compares pairs of genes with compounds too, which inflates recall; for diagnosis only"
    for method, recall in fold.recalls.items():
        yield from recall.notes
        if recall.zero:
            first = ", ".join(recall.zero[:_SHOWN])
            yield (
                f"fold {fold.number}, alignment {method}: {len(recall.zero)} of {len(fold.layout.genes)} rows of the "
                f"map are zero vectors up to rounding, so their cosines count as 0: {first}"
            )


def expect_chance(folds: Sequence[FoldMaps], params: Params) -> dict[str, float]:
    """Return what a random map scores where that depends on the number of genes: among the neighbours of each."""
    shares = [-(-(len(fold.layout.genes) - 1) // PER_QUERY) / (len(fold.layout.genes) - 1) for fold in folds]
    return {
        f"{metric}.{source}{suffix}": sum(shares) / len(shares)
        for tail, metric in params.metrics.items()
        if params.asks_genes(tail)
        for source in (*folds[0].layout.pairs, "mean")
        for suffix in params.align.suffixes
    }


def diagnose(folds: Sequence[FoldMaps], n_controls: Sequence[int], params: Params) -> Mapping[str, Field]:
    """Tell what was computed; lists have one entry a fold, hits are summed over folds."""
    method = params.align.method
    main = [fold.recalls[method] for fold in folds]
    facts: dict[str, Field] = {
        "align": list(params.align.methods),
        "folds": [fold.number for fold in folds],
        "n_genes": [len(fold.layout.genes) for fold in folds],
        "n_null": [recall.n_null for recall in main],
        "n_controls": list(n_controls),
        "components": [recall.components for recall in main],
        "n_zero": sum(len(recall.zero) for recall in main),
    }
    for source in folds[0].layout.pairs:
        facts[f"n_pairs.{source}"] = [len(fold.layout.pairs[source]) for fold in folds]
        for tail in main[0].tails:
            facts[f"n_hits.{tail}.{source}"] = sum(int(recall.tails[tail][source].sum()) for recall in main)
    return facts
