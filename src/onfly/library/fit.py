"""Whether a model fits a task. Fine-tuned models do not transfer: a wrong one looks right."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms
from pymatgen.core import Composition, Molecule, Structure

from onfly.schemas import FineTunedModelDoc

__all__ = ["ModelMismatchError", "ModelNotFoundError", "check_fit", "mismatches"]


class ModelMismatchError(ValueError):
    """A model was asked for a task that it was not fine-tuned for.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> check_fit(ModelLibrary.from_settings().latest("CuAu"), structure="NaCl")
    Traceback (most recent call last):
        ...
    onfly.library.fit.ModelMismatchError: model CuAu-f716e6da3f4e does not fit: ...
    """


class ModelNotFoundError(LookupError):
    """The library has no model that matches.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> ModelLibrary.from_settings().get("CuAu-000000000000")
    Traceback (most recent call last):
        ...
    onfly.library.fit.ModelNotFoundError: no model 'CuAu-000000000000' in ...
    """


def mismatches(
    doc: FineTunedModelDoc,
    *,
    structure: Structure | Molecule | Atoms | Composition | str | None = None,
    level_of_theory: str | None = None,
    temperature: float | Sequence[float] | None = None,
) -> list[str]:
    """Return in words what does not fit; an empty list if all does.

    Parameters
    ----------
    doc
        The model.
    structure
        What it is to be used for; its reduced formula must be the model's.
    level_of_theory
        Must be the model's.
    temperature
        K, one or several; must lie within the range the model was fine-tuned at.
    """
    problems = []
    if structure is not None:
        formula = _formula(structure)
        if formula != doc.formula_pretty:
            problems.append(f"it was fine-tuned on {doc.formula_pretty}, not on {formula}")
    if level_of_theory is not None and level_of_theory != doc.level_of_theory:
        problems.append(f"its labels are {doc.level_of_theory}, not {level_of_theory}")
    if temperature is not None:
        values = [float(t) for t in _as_sequence(temperature)]
        if doc.temperature_range is None:
            problems.append("its temperature range is unknown")
        else:
            low, high = doc.temperature_range
            if min(values) < low or max(values) > high:
                asked = " to ".join(f"{t:g}" for t in sorted({min(values), max(values)}))
                problems.append(f"it was fine-tuned at {low:g} to {high:g} K, not {asked} K")
    return problems


def check_fit(doc: FineTunedModelDoc, *, allow_mismatch: bool = False, **task: object) -> None:
    """Refuse a model that does not fit; ``task`` is that of `mismatches`.

    Parameters
    ----------
    doc
        The model.
    allow_mismatch
        Whether what does not fit is only logged.
    **task
        `structure` (or a formula), `level_of_theory` and `temperature` (K, one or several), as far
        as they are to be compared.

    Raises
    ------
    ModelMismatchError
        If something does not fit and ``allow_mismatch`` is False.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> model = ModelLibrary.from_settings().latest("CuAu")
    >>> check_fit(model, structure="CuAu", temperature=300)
    >>> check_fit(model, temperature=[300, 900])
    Traceback (most recent call last):
        ...
    onfly.library.fit.ModelMismatchError: model CuAu-f716e6da3f4e does not fit: ...
    """
    problems = mismatches(doc, **task)  # type: ignore[arg-type]
    if problems and not allow_mismatch:
        raise ModelMismatchError(
            f"model {doc.model_id} does not fit: {'; '.join(problems)}. Fine-tune one for this "
            "task, or pass allow_mismatch=True."
        )


def _formula(structure: Structure | Molecule | Atoms | Composition | str) -> str:
    if isinstance(structure, Atoms):
        structure = structure.get_chemical_formula()
    if isinstance(structure, Structure | Molecule):
        return structure.composition.reduced_formula
    return Composition(structure).reduced_formula


def _as_sequence(value: float | Sequence[float]) -> Sequence[float]:
    return value if isinstance(value, Sequence) else [value]
