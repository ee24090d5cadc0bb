"""Steps of the normalisation of profiles, as a spec names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from harness.errors import nearest
from harness.specs import Number, Strict

Scope = Literal["plate", "all"]


def _translate_dmso(value: Any) -> Any:
    return "negcon" if value == "dmso" else value


Fit = Annotated[Literal["negcon", "all"], BeforeValidator(_translate_dmso)]
"""``negcon`` (``dmso`` is the same word): the negative controls. ``all``: every well."""


class Zca(Strict):
    """Whitening by the covariance of controls."""

    name: Literal["zca"] = "zca"
    fit: Fit = "negcon"
    by: Scope = "plate"
    eps: Number = Field(1e-4, ge=0)
    """Is added to the singular values."""


class ZcaCor(Strict):
    """Whitening of features that are divided by their standard deviations first."""

    name: Literal["zca_cor"] = "zca_cor"
    fit: Fit = "negcon"
    by: Scope = "plate"
    eps: Number = Field(1e-6, ge=0)


class Standardize(Strict):
    """Mean and standard deviation (ddof 0)."""

    name: Literal["standardize"] = "standardize"
    fit: Fit = "negcon"
    by: Scope = "plate"


class MadRobustize(Strict):
    """Median and median absolute deviation."""

    name: Literal["mad_robustize"] = "mad_robustize"
    fit: Fit = "negcon"
    by: Scope = "plate"


class InverseNormal(Strict):
    """Rank-based inverse normal transform over all wells."""

    name: Literal["int"] = "int"
    by: Scope = "plate"
    c: Number = Field(0.5, ge=0, le=1)


NAMES = ("zca", "zca_cor", "standardize", "mad_robustize", "int")


def _unfold(value: Any) -> Any:
    """Read ``NAME`` or ``{NAME: {OPTION: VALUE}}``."""
    name: Any
    options: Any = None
    if isinstance(value, str):
        name = value
    elif isinstance(value, Mapping) and len(value) == 1:
        ((name, options),) = value.items()
    else:
        return value
    if name not in NAMES:
        near = nearest(str(name), NAMES)
        raise ValueError(
            f"unknown step {name!r}. " + (f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(NAMES)}.")
        )
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"{name}: expected a mapping of options, got {options!r}")
    return {"name": name, **(options or {})}


Step = Annotated[
    Zca | ZcaCor | Standardize | MadRobustize | InverseNormal, Field(discriminator="name"), BeforeValidator(_unfold)
]


def _read_none(value: Any) -> Any:
    return [] if value in ("none", ["none"], None) else value


Steps = Annotated[list[Step], BeforeValidator(_read_none)]
"""A list of steps; ``none`` for no normalisation at all."""
