"""Patients with sections in train and test of a fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from harness.errors import SpecError

from .hest_splits import SplitFold

SharedPatients = Literal["refuse", "note"]
"""What to do about them: a split made by hand is refused, one published so may be taken with a note."""
Patients = Mapping[str, tuple[str, str] | None]
"""Section -> study and patient, None where nobody is named."""


def check_patients(folds: Sequence[SplitFold], patients: Patients, choice: SharedPatients) -> list[str]:
    """Find patients on both sides of a fold; sections without a named patient are not compared.

    Returns:
        One note for each set of patients.

    Raises:
        SpecError: there is one, and ``choice`` is ``refuse``.
    """
    found: dict[str, list[str]] = {}
    for fold in folds:
        train, test = ({patients.get(name) for name in side} - {None} for side in (fold.train, fold.test))
        both = sorted(patient for patient in train & test if patient)
        if both and choice == "refuse":
            raise SpecError(_explain(fold, patients, both[0]))
        if both:
            found.setdefault(", ".join(name for _, name in both), []).append(str(fold.number))
    return [
        f"patient in train and test: {names} (fold {', '.join(numbers)}); scores are optimistic"
        for names, numbers in found.items()
    ]


def _explain(fold: SplitFold, patients: Patients, patient: tuple[str, str]) -> str:
    train, test = (
        ", ".join(name for name in side if patients.get(name) == patient) for side in (fold.train, fold.test)
    )
    study = f" of {patient[0]!r}" if patient[0] else ""
    return (
        f"fold {fold.number}: {patient[1]}{study} is in train ({train}) and test ({test}), expected a patient on one "
        "side only; make other split files, or set protocol.params.shared_patients: note if they were published so"
    )
