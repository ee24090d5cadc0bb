"""Where a weights file lies: named in an option, in a mirror, in the cache, or on the hub."""

from __future__ import annotations

from pathlib import Path
from urllib.error import HTTPError, URLError

from harness.cards import ModelCard, WeightsSpec
from harness.errors import MissingDataError
from harness.hub import is_gated, why_not
from harness.types import BuildContext, DataContext

_HUB = "hf-hub:"
_DATASETS = "datasets/"
"""Begins the name of a repository on the hub that is a data set."""
_GITHUB = "github:"
_TORCHVISION = "torchvision:"
_TRAINED = "trained:"
_UNASKED, _ALONE = "not asked (--offline)", "no connection"
"""Why nothing was downloaded, where the file may be there."""
_SCHEMES = ("timm:", _HUB, "file:")


def find_weights(context: BuildContext) -> Path:
    """Return the weights file of a card: option ``weights``, then ``--data-dir``, then the cache, then the hub.

    Raises:
        MissingDataError: it is nowhere, gated or refused; says every place searched and what to do.
    """
    chosen, name = context.options.get("weights"), model_string(context.card)
    if chosen is not None:
        path = Path(chosen).expanduser()
        if not path.is_file():
            raise MissingDataError(f"{name},weights={chosen}: no such file (looked for it in {Path.cwd()})")
        return path
    spec = context.card.weights
    if spec is None:
        raise MissingDataError(f"{name}: has no published weights: pass {name},weights=FILE, or use untrained:{name}")
    local = next((place for place in local_places(spec, context) if place.is_file()), None)
    if local is None and spec.source.startswith(_TRAINED):
        raise MissingDataError(_explain_untrained(spec, context))
    if local is None and spec.source.startswith(_GITHUB):
        raise MissingDataError(_explain_absent(spec, context, "not offered"))
    return local or _from_hub(spec, context)


def model_string(card: ModelCard) -> str:
    """Return what a user types to get a card: its name, or ``SCHEME:TEXT``, which such cards carry as their label."""
    return card.label if card.label.startswith(_SCHEMES) else card.name


def shown_name(context: BuildContext) -> str:
    """Return what a user types to get the model that a context asks for, its options left out."""
    return f"{'untrained:' if context.untrained else ''}{model_string(context.card)}"


def local_places(spec: WeightsSpec, context: BuildContext | DataContext) -> list[Path]:
    """List the files that would be taken without a download, best first: under the data folders, else in the cache."""
    if spec.source.startswith(_TRAINED):
        folder = Path("trained", spec.source.removeprefix(_TRAINED))
        return [root / folder / file for root in (*context.data_dirs, context.cache) for file in spec.files]
    owner = spec.source.removeprefix(_HUB).removeprefix(_GITHUB)
    names = spec.paths or [f"{owner}/{file}" for file in spec.files]
    return [folder / name for folder in context.data_dirs for name in names]


def _from_hub(spec: WeightsSpec, context: BuildContext) -> Path:
    if spec.source.startswith(_TORCHVISION):
        return _from_torchvision(spec, context)
    import huggingface_hub
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    huggingface_hub.logging.set_verbosity_error()  # what went wrong is said once, by us
    kind, repository = _repository(spec)
    gated, refused = context.card.access.gated != "no", False
    problem = _UNASKED if context.offline else ""
    for file in spec.files:
        try:
            return Path(
                huggingface_hub.hf_hub_download(
                    repository,
                    file,
                    repo_type=kind,
                    revision=spec.revision,
                    cache_dir=context.cache / "huggingface",
                    local_files_only=context.offline,
                )
            )
        except (EntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
            problem, refused = problem or _why(error), refused or is_gated(error)
            gated = gated or isinstance(error, GatedRepoError)  # the card does not know, the hub does
            if isinstance(error, GatedRepoError):
                problem = _why(error)
                break
            if isinstance(error, LocalEntryNotFoundError) and not context.offline:
                break  # no connection: the next file would only wait as long
    if gated:
        closed = refused or huggingface_hub.get_token() is None
        raise MissingDataError(_explain_gated(spec, context, problem, closed=closed))
    raise MissingDataError(_explain_absent(spec, context, problem))


def _repository(spec: WeightsSpec) -> tuple[str, str]:
    """Tell what kind of repository holds the weights, and its name."""
    text = spec.source.removeprefix(_HUB)
    return ("dataset" if text.startswith(_DATASETS) else "model"), text.removeprefix(_DATASETS)


def _from_torchvision(spec: WeightsSpec, context: BuildContext) -> Path:
    """Take the file from torchvision's own list of weights, by its name."""
    file = spec.source.removeprefix(_TORCHVISION)
    target = context.cache / "torchvision" / file
    if target.is_file():
        return target
    problem = _UNASKED
    if not context.offline:
        from torch.hub import download_url_to_file
        from torchvision.models import get_model_weights

        url = next(one.url for one in get_model_weights(context.card.arch or "") if one.url.endswith(file))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            download_url_to_file(url, str(target), hash_prefix=spec.sha256, progress=False)
        except (OSError, RuntimeError) as error:
            problem = _why(error)
        else:
            return target
    raise MissingDataError(_explain_absent(spec, context, problem))


def _explain_absent(spec: WeightsSpec, context: BuildContext, problem: str) -> str:
    name = model_string(context.card)
    example = (spec.paths or [f"{spec.source.removeprefix(_HUB).removeprefix(_GITHUB)}/{spec.files[0]}"])[0]
    facts = f"{f'{spec.size_gb:g} GB, ' if spec.size_gb else ''}licence {context.card.access.licence or 'unknown'}"
    own = f"pass {name},weights=PATH"
    last = f"or {own}" if spec.source.startswith(_GITHUB) else f"{own}, or {_again(problem)}"
    return (
        f"{name}: weights not found ({_searched(spec, context)}; download: {problem}). Put "
        f"{spec.files[0]} of {spec.source} at DIR/{example} and pass --data-dir DIR, {last} ({facts}). "
        f"untrained:{name} runs without weights."
    )


def _searched(spec: WeightsSpec, context: BuildContext) -> str:
    places = [str(place) for place in local_places(spec, context)] or ["no --data-dir given"]
    return ", ".join([*places, str(context.cache)])


def _why(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"refused with status {error.code}"
    return _ALONE if isinstance(error, (URLError, ConnectionError, TimeoutError)) else why_not(error)


def _again(problem: str) -> str:
    """Say how to run again so that the download may succeed."""
    known = {_UNASKED: "run without --offline to download it", _ALONE: "connect and run again"}
    return known.get(problem, "mend that and run again")


def _explain_untrained(spec: WeightsSpec, context: BuildContext) -> str:
    name, task = context.card.name, spec.source.removeprefix(_TRAINED)
    network = name.removesuffix("-synthetic")
    places = ", ".join(map(str, local_places(spec, context)))
    return (
        f"{name}: trained weights needed. Train them with the task {task} and pass {name},weights=FILE, or use "
        f"untrained:{name}. `harness train {network} --task {task}` puts them where they are looked for ({places}); it "
        "takes hours on two cores and may be interrupted."
    )


def _explain_gated(spec: WeightsSpec, context: BuildContext, problem: str, *, closed: bool) -> str:
    """Say why gated weights are not there; what to do first is to be let in, where the owner or a login is lacking."""
    name, (kind, repository) = model_string(context.card), _repository(spec)
    place = (spec.paths or [f"{repository}/{spec.files[0]}"])[0]
    gated, licence = context.card.access.gated, context.card.access.licence or "unknown"
    gated = "by their owner" if gated == "no" else gated  # the card does not know, the hub does
    page, again = f"{kind} page of {repository} on Hugging Face", _again(problem)
    if closed:
        rerun = again if problem in (_UNASKED, _ALONE) else "run again"
        advice = f"Accept the terms on the {page}, log in (hf auth login), and {rerun}"
    else:
        advice = f"{again[0].upper()}{again[1:]} (terms: the {page}; login: hf auth login)"
    return (
        f"{name}: weights are gated ({gated}). Licence: {licence}. Not found ({_searched(spec, context)}; download: "
        f"{problem}). {advice}; or place {spec.files[0]} at DIR/{place} and pass --data-dir DIR, or use "
        f"{name},weights=PATH. untrained:{name} runs at once, without weights. Precomputed vectors: embeddings:PATH."
    )
