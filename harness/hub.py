"""Why a download from the Hugging Face Hub failed, in a few words."""

from __future__ import annotations

_CLOSED = (401, 403)


def is_gated(error: Exception) -> bool:
    """Tell whether a repository refused because its conditions were not accepted or nobody is logged in."""
    from huggingface_hub.errors import GatedRepoError

    return isinstance(error, GatedRepoError) or _status(error) in _CLOSED


def why_not(error: Exception) -> str:
    """Say in a few words why a download failed; the errors of the libraries hold addresses and many lines."""
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    if isinstance(error, HFValidationError):
        return "not the name of a repository"
    if isinstance(error, LocalEntryNotFoundError):
        return "no connection"
    if isinstance(error, EntryNotFoundError):
        return "the repository has no such file"
    if _status(error) is not None:
        return f"refused with status {_status(error)}"
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
