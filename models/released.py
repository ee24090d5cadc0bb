"""Models of which only vectors were released: found in a mirror of the data set they belong to."""

from __future__ import annotations

from pathlib import Path

from harness.errors import MissingDataError
from harness.hashing import hash_file
from harness.types import BuildContext

from .option_values import whole_number
from .precomputed import PrecomputedModel, VectorSource

__all__ = ["build", "find_released", "identify"]


def build(context: BuildContext) -> PrecomputedModel:
    """Build a model that looks its vectors up in the released file.

    The card's ``kwargs`` are ``files``, a pattern below a data folder, and ``width``, how many features are expected.
    Options as for ``embeddings:PATH``: ``id``, ``columns``, ``dim`` (instead of the width), ``name``.

    Raises:
        MissingDataError: no file, or several.
        UsageError: ``dim`` is no number.
    """
    options, width = context.options, whole_number(context, "dim", int(context.card.kwargs["width"]))
    return PrecomputedModel(VectorSource(find_released(context), options.get("id"), options.get("columns"), width))


def find_released(context: BuildContext) -> Path:
    """Return the only file in the first data folder that matches the card's pattern.

    Raises:
        MissingDataError: no file, or several: which belongs to the model is for the user to say.
    """
    card, pattern = context.card, str(context.card.kwargs["files"])
    matches = (sorted(folder.glob(pattern)) for folder in context.data_dirs)
    found = next((files for files in matches if files), [])
    if len(found) == 1:
        return found[0]
    listed = f"{len(found)} ({', '.join(map(str, found))})" if found else "none"
    raise MissingDataError(
        f"{card.name}: its weights are not public; only embeddings of RxRx3-core exist. Expected DIR/{pattern} with "
        f"--data-dir DIR; found {listed}. Use embeddings:PATH,name={card.name}."
    )


def identify(context: BuildContext) -> str:
    """Return the sha256 of the released file, for the identity of the model.

    Raises:
        MissingDataError: no file, or several.
    """
    return hash_file(find_released(context))
