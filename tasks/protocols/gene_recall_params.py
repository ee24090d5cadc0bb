"""Parameters of the protocol ``gene-recall``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from harness.specs import Strict

from ..metrics.cosine_map import Pooling
from .alignment_params import AlignParams

TailName = Literal["top5", "both5", "bottom5", "both10", "per_query"]


def _all_tails() -> list[TailName]:
    return ["top5", "both5", "bottom5", "both10", "per_query"]


class Params(Strict):
    """Alignment, map and tails; wells, controls, folds and sources are the reader's."""

    align: AlignParams = AlignParams()
    aggregate: Pooling = "mean"
    """How the wells of a gene become its profile."""
    keep_control: bool = False
    """Keep the negative control in the map as if it were a gene."""
    tails: list[TailName] = Field(default_factory=_all_tails, min_length=1)
    """Tails that are scored; the metrics of ``per_query`` are called ``recall_top5_per_query``."""
    threshold: Literal["global", "per_query"] = "global"
    """``per_query`` scores ``recall_top5`` gene by gene too: the nearest 5 % of the others of each, in place of the
    largest 5 % of all cosines."""
    null_rows: Literal["crispr", "all"] = "crispr"
    """``all`` puts compounds at each dose among the cosines that pairs are compared with, which inflates recall: for
    diagnosis only. ``per_query`` looks at genes either way."""
    expected_pairs: dict[str, int] = Field(default_factory=dict)
    """Known pairs of each source that the map should hold; others make a note."""

    @field_validator("tails")
    @classmethod
    def _check_tails(cls, tails: list[TailName]) -> list[TailName]:
        if len(set(tails)) != len(tails):
            raise ValueError(f"a tail stands twice: {', '.join(tails)}")
        return tails

    @property
    def metrics(self) -> dict[TailName, str]:
        """Tail -> name of its metrics, up to the dot."""
        return {tail: f"recall_{'top5_per_query' if tail == 'per_query' else tail}" for tail in self.tails}

    def asks_genes(self, tail: TailName) -> bool:
        """Tell whether a tail is that of each gene's own neighbours, not that of the whole map."""
        return tail == "per_query" or (tail == "top5" and self.threshold == "per_query")
