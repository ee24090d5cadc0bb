"""How the protocols on wells align them: one method for the score, others beside it."""

from __future__ import annotations

from pydantic import Field, field_validator

from harness.specs import Strict

from ..metrics.alignment import Method


class AlignParams(Strict):
    """Alignment of wells by their negative controls."""

    method: Method = "pca_centerscale"
    """``none``, ``centerscale_global``, ``centerscale``, ``pca_centerscale``, ``tvn_global`` or ``tvn``."""
    companions: list[Method] = Field(default_factory=lambda: list[Method](["none"]))
    """Other methods whose scores stand beside, in metrics with the suffix ``@METHOD``."""

    @field_validator("companions")
    @classmethod
    def _check_companions(cls, companions: list[Method]) -> list[Method]:
        if len(set(companions)) != len(companions):
            raise ValueError(f"a method stands twice: {', '.join(companions)}")
        return companions

    @property
    def suffixes(self) -> dict[str, Method]:
        """Suffix of a metric -> method that it is scored with."""
        return {"": self.method, **{f"@{method}": method for method in self.companions}}

    @property
    def methods(self) -> tuple[Method, ...]:
        """Each method once, that of the score first."""
        return tuple(dict.fromkeys(self.suffixes.values()))
