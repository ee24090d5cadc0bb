"""Parameters of the expression protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from harness.specs import Strict
from harness.yamlfile import merge

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "hest": {
        "pca": {"solver": "randomized", "components": 256, "small_dims": "error"},
        "alpha": "hest",
        "nan": "propagate",
    },
}
"""What a preset sets; keys that the user gives too keep the user's value."""


def _explain_headline(value: Any) -> Any:
    if value == "per_sample":
        raise ValueError("both are always reported; to change the headline make pcc_per_sample the primary metric")
    return value


class PcaParams(Strict):
    """How features are reduced before the regression."""

    solver: Literal["exact", "randomized"] = "exact"
    """``exact``: eigen-decomposition in float64. ``randomized``: scikit-learn's own choice of solver, as in HEST."""
    components: int | None = Field(256, ge=1)
    """Number of components; null regresses on the features as they are."""
    small_dims: Literal["min", "error", "pad"] = "min"
    """Too few features or training samples for the components: take ``min(components, D, n_train - 1)``, refuse, or
    tile the features to ``components`` columns with noise of sd 1e-3."""
    seed: int = Field(1, ge=0)
    """Seed of the randomized solver and of the noise of ``pad``."""


class Params(Strict):
    """Parameters of the protocol ``expression-regression``."""

    preset: Literal["default", "hest"] = "default"
    """``hest`` repeats the original code: randomized solver, refusal of small dimensions, undefined genes propagate."""
    pca: PcaParams = PcaParams()
    alpha: Literal["hest", "cv"] = "hest"
    """Penalty: 100 / (components x genes), or that times the best of 1e-4 .. 1e6 by cross-validation."""
    head: Literal["ridge", "xgboost", "xgboost_raw", "mean"] = "ridge"
    """``xgboost`` fits trees on the components, ``xgboost_raw`` on the features as they are, whatever ``pca`` says
    (cards of a few hand-made features ask for it); ``mean`` predicts the training mean."""
    intercept: bool = False
    """Add the training mean of the target; only ``mse`` and ``r2`` notice unless ``pca.components`` is null."""
    pcc: Annotated[Literal["pooled"], BeforeValidator(_explain_headline)] = "pooled"
    """``pcc`` pools the test samples of a fold; the per-section mean is the metric ``pcc_per_sample``."""
    nan: Literal["omit", "propagate", "zero"] = "omit"
    """A gene with a constant target or prediction in a fold: leave it out, make the mean undefined, or count it 0."""

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        preset = values.get("preset") if isinstance(values, Mapping) else None
        return merge(PRESETS[preset], values) if isinstance(preset, str) and preset in PRESETS else values
