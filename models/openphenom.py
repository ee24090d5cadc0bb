"""OpenPhenom: a channel-agnostic vision transformer for Cell Painting, or its vectors released with RxRx3-core."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harness.cards import ModelCard
from harness.errors import DamagedFileError, MismatchError, MissingDataError, UsageError
from harness.hashing import hash_file
from harness.joining import Keyed
from harness.types import Batch, BuildContext, Samples

from . import weights
from .channel_vit import ChannelVit, ChannelVitStages
from .expectations import check_expectations
from .option_values import choose
from .precomputed import PrecomputedModel, VectorSource
from .random_draw import activate, drawn_from
from .timm_backbone import create as create_timm
from .torch_model import TorchModel

RELEASED = "recursionpharma/rxrx3-core/OpenPhenom_rxrx3_core_embeddings.parquet"
"""Where the released vectors lie below a data folder: ``well_id`` and ``feature_0`` to ``feature_383``."""
_WELL = "well_id"


def build(context: BuildContext) -> TorchModel | ReleasedVectors:
    """Build the network, trained or drawn at random, or with ``from=embeddings`` look the released vectors up.

    Raises:
        MismatchError: the images have more channels than there are positions for.
        MissingDataError: weights or vectors are nowhere, or do not fit.
        UsageError: random weights and released vectors are asked for together.
    """
    card = context.card
    if _from_vectors(context):
        return ReleasedVectors(find_vectors(context), card)
    most = int(card.kwargs["max_channels"])
    if not 1 <= context.channels <= most:
        raise MismatchError(f"{card.name}: images have {context.channels} channels, the network takes 1 to {most}")
    with torch.device("meta"):
        check_expectations(create(card), card)
    with drawn_from(context.seed):
        network = create(card)
    if not context.untrained:
        weights.fill(network, context)
    elif choose(context, "init", ("library", "active"), card.untrained.twin) == "active":
        activate(network)
    return TorchModel(network, context, read=ChannelVitStages(network, card))


def identify(context: BuildContext) -> str:
    """Return the sha256 of the weights file, or of the released vectors.

    Raises:
        MissingDataError: the file is nowhere.
    """
    return hash_file(find_vectors(context)) if _from_vectors(context) else weights.identify(context)


def create(card: ModelCard) -> ChannelVit:
    """Construct the network of a card, on the current device.

    Raises:
        PluginError: timm does not know the architecture or an argument.
    """
    from timm.models.vision_transformer import ParallelScalingBlock

    arguments = {key: value for key, value in card.kwargs.items() if key != "max_channels"}
    arguments |= {"in_chans": 1, "block_fn": ParallelScalingBlock}
    backbone = create_timm(card.model_copy(update={"kwargs": arguments}))
    return ChannelVit(backbone, int(card.kwargs["max_channels"]))


def find_vectors(context: BuildContext) -> Path:
    """Return the file of the released vectors in the first data folder that has it.

    Raises:
        MissingDataError: none has.
    """
    places = [folder / RELEASED for folder in context.data_dirs]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise MissingDataError(
            f"{context.card.name},from=embeddings: released vectors not found "
            f"({', '.join(map(str, places)) or 'no --data-dir given'}). Download {Path(RELEASED).name} (0.5 GB) of the "
            f"data set recursionpharma/rxrx3-core on Hugging Face, put it at DIR/{RELEASED} and pass --data-dir DIR"
        )
    return found


class ReleasedVectors:
    """Looks up the vectors that the authors computed for the wells of RxRx3-core; they exist for the last stage only.

    How these vectors were made of images of 512 px is not known: they need not equal those that the network gives here.
    """

    needs_pixels = False

    def __init__(self, path: Path, card: ModelCard) -> None:
        """Keep where the vectors are; they are read when the samples are known."""
        self._model = PrecomputedModel(VectorSource(path))
        self._path = path
        self._title = f"{card.name},from=embeddings"
        self._stage = card.stages[-1]
        self._dim = card.output.dim

    def prepare(self, samples: Samples, view: str) -> None:
        """Read the vectors and join them with the wells of a task.

        Raises:
            MismatchError: the samples are no wells of RxRx3-core.
            DamagedFileError: unreadable, or without a vector for some well.
        """
        if not isinstance(samples, Keyed) or _WELL not in samples.keys:
            raise MismatchError(
                f"{self._title}: holds vectors of the wells of RxRx3-core only; the samples of this task, such as "
                f"{samples.ids[0]}, have no {_WELL}"
            )
        self._model.prepare(samples, view)

    def embed(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of a batch.

        Raises:
            UsageError: another stage than the last.
            DamagedFileError: the file holds vectors of another length.
        """
        if list(stages) != [self._stage]:
            raise UsageError(f"{self._title}: has stage {self._stage} only, not {', '.join(stages)}; use --stages last")
        vectors = self._model.embed(batch, ["last"])["last"]
        if vectors.shape[1] != self._dim:
            raise DamagedFileError(f"{self._path}: expected {self._dim} features, found {vectors.shape[1]}")
        return {self._stage: vectors}


def _from_vectors(context: BuildContext) -> bool:
    chosen = choose(context, "from", ("weights", "embeddings"), "weights") == "embeddings"
    if chosen and (context.untrained or "weights" in context.options):
        other = "a network drawn at random" if context.untrained else "weights=FILE"
        raise UsageError(f"{context.card.name}: from=embeddings takes released vectors, which {other} contradicts")
    return chosen
