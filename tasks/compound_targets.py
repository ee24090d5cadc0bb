"""What a drug-target task offers beside its wells: measured affinities of compounds to genes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .wells import WellSamples


@runtime_checkable
class CompoundTargets(WellSamples, Protocol):
    """Wells of genes and of compounds, with the genes that compounds are known to act on."""

    @property
    def interactions(self) -> tuple[tuple[str, str, float], ...]:
        """Compound, gene, affinity in nM; a pair may stand several times."""
