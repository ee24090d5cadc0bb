"""Model cards: how a model is built, fed and read, and what is known of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.specs import Name, Number, Strict, View
from harness.yamlfile import load_yaml


class WeightsSpec(Strict):
    """Where trained weights lie and how their keys are renamed."""

    source: str
    """``hf-hub:OWNER/REPO``, ``hf-hub:datasets/OWNER/REPO``, ``torchvision:FILE``, ``trained:TASK`` (what
    ``harness train`` wrote) or ``github:OWNER/REPO`` (to be put there by hand)."""
    files: list[str] = Field(default_factory=lambda: ["model.safetensors", "pytorch_model.bin"])
    """File names, best first."""
    paths: list[str] = Field(default_factory=list)
    """Places under a data folder to look at; by default OWNER/REPO/FILE."""
    remap: str = "none"
    unwrap: list[str] = Field(default_factory=list)
    strict: bool = True
    sha256: str | None = None
    revision: str | None = None
    size_gb: Number | None = None


class Access(Strict):
    """Who may use the weights."""

    gated: str = "no"
    """``no``, ``auto``, ``manual`` or ``institutional``."""
    licence: str | None = None


class InputTransform(Strict):
    """How an image becomes the network's input."""

    size: int | None = Field(None, ge=1)
    """Side in pixels; null takes images as they are."""
    resize: Literal["none", "squash", "shortest"] = "squash"
    resize_to: int | None = None
    """Side to resize to before the crop, where it differs from ``size``."""
    crop: Literal["none", "center"] = "none"
    crop_pct: Number | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True
    mean: list[Number] | None = None
    std: list[Number] | None = None
    mean_std: Literal["card", "none"] = "card"
    """``none`` leaves out the normalisation."""
    channels: int | Literal["any"] = 3
    """Channels the trained network takes."""
    channel_adapt: Literal["timm", "copy", "native", "none"] = "none"
    """Rule for another number of channels."""
    channel_norm: Literal["cycle", "instance"] = "cycle"
    tiles: Literal["whole", "grid", "centre"] = "whole"


class OutputSpec(Strict):
    """What a model returns."""

    pooling: str = "last"
    dim: int | None = None
    """Length of the last stage's vector; null when it depends on the input."""
    stages: dict[str, int] = Field(default_factory=lambda: {"last": 0}, min_length=1)
    """Names of the probed depths in order of depth, each with the index the builder uses."""
    stage_origin: str = ""
    stage_norm: bool = True


class Twin(Strict):
    """The randomly initialised twin."""

    twin: Literal["library", "active", "none"] = "library"
    """``library``: the constructor's initialisation; ``active``: LayerScale 1 and live residual branches; ``none``:
    nothing to initialise."""
    channels: Literal["native", "adapt"] = "native"


class Expect(Strict):
    """What the built network must be."""

    params: int | None = None
    tensors: int | None = None
    signature: str | None = None


class ModelCard(Strict):
    """One model: how it is built, fed, read and what is known of its training."""

    name: Name
    label: str = ""
    aliases: list[str] = Field(default_factory=list)
    family: str = "other"
    """``vit``, ``swin``, ``cnn``, ``gnn``, ``hand-crafted`` or ``other``."""
    pretrain_domain: str = "unknown"
    build: str
    """``package.module:function``; called as ``function(context)`` only when the model is used."""
    arch: str | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)
    weights: WeightsSpec | None = None
    access: Access = Access()
    views: list[View] = Field(["image", "graph_image"], min_length=1)
    view_free: bool = False
    """Its vectors belong to samples, not to a view of them: it answers once a task, on the first view unless one is
    asked for."""
    datasets: list[str] = Field(default_factory=list)
    """The only data sets it can answer on, by the ``dataset`` of a task; empty for models that can be run."""
    input: InputTransform = InputTransform()
    output: OutputSpec = OutputSpec()
    options: list[str] = Field(default_factory=list)
    """Names of the ``KEY=VALUE`` options the builder understands."""
    dtypes: list[Literal["float32", "bfloat16", "float16"]] = Field(["float32"], min_length=1)
    """What the model may be run in; ``auto`` never leaves this list."""
    stochastic: bool = False
    """Drawn at random for every seed even without the ``untrained:`` prefix."""
    head: str | None = None
    """Head the protocol is to use instead of its own, for baselines defined together with one."""
    tiny: bool = False
    """Cheap enough to run beside every model by default."""
    structure: bool = False
    """Sees positions or counts of cells only."""
    requires: list[str] = Field(default_factory=list)
    """Distributions whose versions shape the numbers."""
    exposure: dict[str, str] = Field(default_factory=dict)
    """Data set -> clean | exposed | related | undisclosed | n/a; ``basis`` says from what it is known."""
    training_data: str = ""
    untrained: Twin = Twin()
    expect: Expect = Expect()
    um_per_px: str | None = None
    paper: str | None = None
    year: int | None = None
    notes: str = ""

    @property
    def trainable(self) -> bool:
        """Whether the model is a torch network whose weights training can find."""
        return "torch" in self.requires and self.family != "hand-crafted"

    @property
    def stages(self) -> list[str]:
        """Names of the probed depths, shallow to deep."""
        return list(self.output.stages)


def load_card(path: Path) -> ModelCard:
    """Read a model card from YAML.

    Raises:
        MissingDataError: no such file.
        SpecError: it does not validate.
    """
    return load_yaml(path).validate(ModelCard)
