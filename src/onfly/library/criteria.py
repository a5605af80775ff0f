"""From the words of a user to a query: formula, elements, threshold, temperature …"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pymatgen.core import Composition, DummySpecies, Element

__all__ = ["model_criteria", "reduced_formula", "sorted_chemsys"]

STATES = ("ready", "not accurate enough", "needs more audits", "stopped", "unproven")
Range = float | tuple[float | None, float | None]


def model_criteria(
    *,
    formula: str | None = None,
    chemsys: str | None = None,
    elements: Sequence[str] | None = None,
    foundation_model: str | None = None,
    level_of_theory: str | None = None,
    threshold_ev: Range | None = None,
    temperature: Range | None = None,
    min_coverage: float | None = None,
    campaign: str | None = None,
    state: str | Sequence[str] | None = None,
    **criteria: Any,
) -> dict[str, Any]:
    """Build a MongoDB query for published models; see `ModelLibrary.query`.

    Raises
    ------
    ValueError
        If a formula or an element is unknown.
    """
    query: dict[str, Any] = {}
    for what, given in (("threshold_ev", threshold_ev), ("temperature", temperature)):
        for number in given if isinstance(given, tuple) else (given,):
            if number is not None and not 0 < number < math.inf:
                raise ValueError(f"{what} {number} is not a positive number")
    if min_coverage is not None and not 0 <= min_coverage <= 1:
        raise ValueError(f"min_coverage {min_coverage} is not between 0 and 1")
    if formula is not None:
        query["formula_pretty"] = reduced_formula(formula)
    if chemsys is not None:
        query["chemsys"] = sorted_chemsys(chemsys)
    if elements is not None:
        query["elements"] = {"$all": [_element(symbol) for symbol in elements]}
    for name, value in (
        ("foundation_model", foundation_model),
        ("level_of_theory", level_of_theory),
        ("campaign", campaign),
    ):
        if value is not None:
            query[name] = value
    if threshold_ev is not None:
        low, high = threshold_ev if isinstance(threshold_ev, tuple) else (None, threshold_ev)
        query["threshold_ev"] = _between(low, high)
    if temperature is not None:
        low, high = temperature if isinstance(temperature, tuple) else (temperature, temperature)
        # the model's range must contain the one that is asked for
        if low is not None:
            query["temperature_min"] = {"$lte": low}
        if high is not None:
            query["temperature_max"] = {"$gte": high}
    if min_coverage is not None:
        query["coverage"] = {"$gte": min_coverage}
    if state is not None:
        query["state"] = _states([state] if isinstance(state, str) else state)
    return query | criteria


def _states(wanted: Sequence[str]) -> Any:
    if unknown := sorted({*wanted} - {*STATES}):
        raise ValueError(f"no state {', '.join(unknown)}: use one of {', '.join(STATES)}")
    # models that 0.1 published are stored with its word
    names = [*wanted]
    if {"unproven", "needs more audits"} & {*wanted}:
        names = [*dict.fromkeys([*wanted, "needs more audits", "unproven"])]
    return names[0] if len(names) == 1 else {"$in": names}


def reduced_formula(formula: str) -> str:
    """Return a formula as documents spell it.

    Raises
    ------
    ValueError
        If it is not a formula.
    """
    try:
        composition = Composition(formula)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{formula!r} is not a chemical formula: {error}") from error
    unknown = [str(s) for s in composition if isinstance(s, DummySpecies)]
    if unknown or not composition:
        raise ValueError(f"{formula!r} is not a chemical formula: no element {', '.join(unknown)}")
    return composition.reduced_formula


def sorted_chemsys(chemsys: str) -> str:
    """Return a chemical system such as ``"Ca-S-Zr"`` with its elements sorted."""
    return "-".join(sorted(_element(symbol) for symbol in chemsys.split("-")))


def _element(symbol: str) -> str:
    try:
        return Element(symbol.strip()).symbol
    except ValueError as error:
        raise ValueError(f"{symbol!r} is not a chemical element") from error


def _between(low: float | None, high: float | None) -> dict[str, float]:
    limits = {} if low is None else {"$gte": low}
    return limits if high is None else limits | {"$lte": high}
