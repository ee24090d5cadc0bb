"""Parameters of the protocol ``replicate-retrieval``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from harness.specs import Number, Strict

from ..metrics.average_precision import Ties
from .replicate_retrieval_steps import InverseNormal, Steps, Zca

Companion = Literal["cross_plate", "cross_lab", "plate", "lab", "activity"]


class PValues(Strict):
    """Comparison with random rankings."""

    null_size: int = Field(10_000, ge=1)
    """Random draws of every mean."""
    seed: int = Field(0, ge=0)
    """Seed of the draws."""


def _read_flag(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    return value


class Params(Strict):
    """Parameters of the protocol ``replicate-retrieval``."""

    label: Literal["perturbation", "dose", "control"] = "perturbation"
    """What counts as the same: the perturbation; the ``dose`` level; or ``control``, negative against positive
    controls. Positive are the scored wells of the kind ``positive``, or all where the data know no kinds."""
    keep_controls: bool = False
    """Negative controls are queries and gallery too, with a label of their own; ``label: control`` always keeps
    them. Otherwise they only normalise."""
    aggregate: Literal["mean", "median"] = "mean"
    """How several samples of a well become its profile."""
    drop_std: Number | None = Field(1e-6, ge=0)
    """Drop features whose standard deviation (ddof 0) over the negative controls of any plate is no larger."""
    normalize: Steps = Field([Zca(), InverseNormal()])
    """Steps in order, each a name or ``{NAME: {OPTIONS}}``: zca, zca_cor, standardize, mad_robustize, int; or none."""
    metric: Literal["cosine"] = "cosine"
    ties: Ties = "grouped"
    """Equal similarities stand together; ``pos_first`` is the optimistic rule, ``neg_first`` the pessimistic."""
    companions: list[Companion] = Field(["cross_plate", "cross_lab", "plate", "lab"])
    """Further questions to the same profiles; ``activity`` can be added."""
    undefined: Literal["propagate", "omit"] = "propagate"
    """A label without replicates makes the score of its fold undefined, or is left out of it."""
    p_values: Annotated[PValues | None, BeforeValidator(_read_flag)] = None
    """``true``, or ``{null_size: 10000, seed: 0}``: p- and q-values of every label and of its activity."""
    block: int = Field(512, ge=1)
    """Queries at a time."""

    @field_validator("companions")
    @classmethod
    def _refuse_twice(cls, companions: list[str]) -> list[str]:
        if len(set(companions)) != len(companions):
            raise ValueError(f"a name stands twice ({', '.join(companions)})")
        return companions

    @property
    def takes_controls(self) -> bool:
        """Whether negative controls are queries and gallery."""
        return self.keep_controls or self.label == "control"

    @property
    def asked(self) -> tuple[str, ...]:
        """Companions to compute: those named, and ``activity`` when p-values are wanted."""
        extra = ["activity"] if self.p_values is not None and "activity" not in self.companions else []
        return (*self.companions, *extra)
