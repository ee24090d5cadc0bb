"""Model strings: ``untrained:vit-s-16,pool=avg`` taken apart and put together again."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from harness.errors import UsageError

_OPTION = re.compile(r"^([a-z_]+)=(.*)$", re.DOTALL)
UNTRAINED = "untrained:"
_LONGEST, _KEPT = 190, 60
"""Bytes of a file name that leave room for a stage and an ending; characters of a longer model string that stay."""


@dataclass(frozen=True)
class ModelRequest:
    """One model as the user asked for it.

    Attributes:
        base: card name or scheme string without ``untrained:`` and without options.
        untrained: whether the random twin was asked for.
        options: ``KEY=VALUE`` options in the order given.
    """

    base: str
    untrained: bool = False
    options: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The model string without options."""
        return (UNTRAINED if self.untrained else "") + self.base

    def __str__(self) -> str:
        """Return the whole model string."""
        return ",".join([self.model, *(f"{key}={value}" for key, value in self.options.items())])


def parse_models(text: str) -> list[ModelRequest]:
    """Take a comma-separated list of model strings apart.

    A part of the form ``KEY=VALUE`` is an option of the model before it.

    Raises:
        UsageError: empty name, an option before any model, an option given twice.

    Example:
        >>> [str(model) for model in parse_models("untrained:vit-s-16,pool=avg,pixel-mean")]
        ['untrained:vit-s-16,pool=avg', 'pixel-mean']
    """
    models: list[ModelRequest] = []
    for part in (piece.strip() for piece in text.split(",")):
        option = _OPTION.match(part)
        if option and not models:
            raise UsageError(f"model string {text!r}: option {part!r} stands before any model")
        if option:
            key, value = option.groups()
            if key in models[-1].options:
                raise UsageError(f"model string {text!r}: option {key!r} stands twice")
            models[-1].options[key] = value
            continue
        untrained = part.startswith(UNTRAINED)
        base = part.removeprefix(UNTRAINED)
        if not base or base.startswith(UNTRAINED):
            raise UsageError(f"model string {text!r}: expected NAME, untrained:NAME, timm:ARCH or another scheme")
        models.append(ModelRequest(base, untrained))
    return models


def file_name(model: str) -> str:
    """Percent-encode a model string so that it is one file name; of a very long one the end is kept, behind a hash.

    Example:
        >>> file_name("untrained:timm:resnet18,pool=avg")
        'untrained%3Atimm%3Aresnet18%2Cpool%3Davg'
    """
    name = quote(model, safe="")
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(model.encode()).hexdigest()[:12]
    return f"{digest}-{quote(model[-_KEPT:], safe='')}"


def shorten(model: str) -> str:
    """Return a model string as a table shows it: paths without folders, or the name that the option ``name`` gives.

    Example:
        >>> shorten("embeddings:far/away/x.parquet,id=well"), shorten("embeddings:x.parquet,name=mae-g-8")
        ('embeddings:x.parquet,id=well', 'mae-g-8')
        >>> shorten("gcn,weights=runs/1/gcn.safetensors")
        'gcn,weights=gcn.safetensors'
    """
    base, *options = model.split(",")
    scheme, _, path = base.partition(":")
    if scheme in ("embeddings", "file"):
        named = next((option.removeprefix("name=") for option in options if option.startswith("name=")), None)
        if named:
            return named
        base = f"{scheme}:{path.rsplit('/', 1)[-1]}"
    return ",".join([base, *map(_shorten_option, options)])


def short_names(models: Iterable[str]) -> dict[str, str]:
    """Shorten the model strings of one table; those that would look the same keep their folders.

    Example:
        >>> short_names(["gcn,weights=a/x.pt", "gcn,weights=b/x.pt", "egnn,weights=b/x.pt"])["egnn,weights=b/x.pt"]
        'egnn,weights=x.pt'
    """
    names = {model: shorten(model) for model in models}
    seen = Counter(names.values())
    return {model: name if seen[name] == 1 else model for model, name in names.items()}


def _shorten_option(option: str) -> str:
    key, _, value = option.partition("=")
    return f"weights={value.rsplit('/', 1)[-1]}" if key == "weights" else option
