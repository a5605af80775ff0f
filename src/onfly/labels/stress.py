"""Labellers that are known to give no stress, found without running anything."""

from __future__ import annotations

from collections.abc import Iterable

from atomate2.vasp.jobs.base import BaseVaspMaker
from jobflow import Maker

from onfly.labels.ase import AseLabelMaker
from onfly.labels.dotted import calculator_class
from onfly.spec import MDStage, Tolerance

__all__ = ["check_stress", "missing_stress"]


def missing_stress(maker: Maker) -> str | None:
    """Return why a labeller will give no stress, or None if it does, or nothing is known.

    Examples
    --------
    >>> missing_stress(AseLabelMaker(calculator="ase.calculators.emt.EMT")) is None
    True
    """
    if isinstance(maker, AseLabelMaker):
        try:
            cls = calculator_class(maker.calculator)
        except ValueError:
            return None  # another machine may have it
        properties = getattr(cls, "implemented_properties", ())
        # functions say nothing; some calculators learn what they can do only when they are built
        if isinstance(cls, type) and properties and "stress" not in properties:
            return f"{maker.calculator} computes no stress"
    if isinstance(maker, BaseVaspMaker):
        given = getattr(maker.input_set_generator, "user_incar_settings", None) or {}
        isif = {str(k).upper(): v for k, v in given.items()}.get("ISIF")
        if isif is not None and int(isif) < 2:
            return f"ISIF = {isif} makes VASP compute no stress (2 does)"
    return None


def check_stress(
    maker: Maker, stages: Iterable[MDStage], tolerances: Iterable[Tolerance] = ()
) -> None:
    """Refuse a labeller that is known to give no stress where the run needs one.

    Raises
    ------
    ValueError
        With the reason and the remedy.
    """
    moves = any(stage.needs_stress for stage in stages)
    judged = any(tolerance.quantity == "stress" for tolerance in tolerances)
    if not (moves or judged) or (reason := missing_stress(maker)) is None:
        return
    if judged:
        raise ValueError(
            f"{reason}, which a tolerance of the stress needs: use a labeller with stress, or "
            "another tolerance"
        )
    raise ValueError(
        f"{reason}, which MD at constant pressure needs, as a relaxation of the cell does: use a "
        "labeller with stress, an nvt stage, or a relaxation without the cell"
    )
