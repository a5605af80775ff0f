"""Which labels of the library a class learns: of one level of theory, each configuration once."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymatgen.core import Composition

from onfly.classes.names import ClassModelError
from onfly.library import ModelLibrary
from onfly.library.export import read_labels
from onfly.schemas import LabelDoc

__all__ = ["Selection", "formula_of", "select_labels"]


@dataclass(frozen=True)
class Selection:
    """Labels that are learned together.

    Parameters
    ----------
    labels
        Ordered by run and index.
    level_of_theory
        Of all of them.
    foundations
        What their runs started from, as stored; a table for each that differs.
    excluded
        Reduced formulas of which no label was taken.
    left_out
        Number of labels that were left out, by why.
    thresholds
        Smallest energy tolerance of the cell in the runs of a compound, eV, by reduced formula.
    """

    labels: tuple[LabelDoc, ...]
    level_of_theory: str
    foundations: tuple[dict[str, Any], ...] = ()
    excluded: tuple[str, ...] = ()
    left_out: Mapping[str, int] | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)


def formula_of(text: str) -> str:
    """Return the reduced formula of a compound in any spelling.

    Raises
    ------
    ClassModelError
        If it is none.
    """
    try:
        found = Composition(text).reduced_formula
    except (ValueError, TypeError):
        found = ""
    if not found:
        raise ClassModelError(f"{text!r} is no chemical formula")
    return found


def select_labels(
    library: ModelLibrary,
    criteria: Mapping[str, Any],
    *,
    exclude: Sequence[str] = (),
    level_of_theory: str | None = None,
) -> Selection:
    """Return the labels that fit together.

    Labels fit together if the runs that asked for them name one level of theory (or, where they
    name none, one labeller) and one kind of energy. The hashes of the inputs differ between
    compounds, since k-points and pseudopotentials do; cells of one compound and size must have the
    same, and the hash that most of them have is taken. The foundation of a run is no condition: a
    label does not depend on it.

    Parameters
    ----------
    library
        With labels and runs.
    criteria
        In MongoDB's query language, on labels.
    exclude
        Formulas, in any spelling, of which nothing may be used.
    level_of_theory
        Needed where there are several.

    Raises
    ------
    ClassModelError
        If none are left, or they are of several levels of theory.
    """
    if library.labels_store is None or library.runs_store is None:
        raise ClassModelError("this library was opened without collections of labels and runs")
    held_out = tuple(sorted({formula_of(text) for text in exclude}))
    found = read_labels(library.labels_store, dict(criteria))
    left_out: Counter[str] = Counter()
    wanted = []
    for label in found:
        if _formula(label) in held_out:
            left_out["compound excluded"] += 1
        elif label.run_id is None or label.index is None:
            left_out["of no run"] += 1
        else:
            wanted.append(label)
    runs = _runs(library, {str(label.run_id) for label in wanted})
    families: dict[str, list[LabelDoc]] = {}
    for label in wanted:
        families.setdefault(_level(label, runs), []).append(label)
    if level_of_theory is not None:
        left_out["other level of theory"] = sum(
            len(labels) for level, labels in families.items() if level != level_of_theory
        )
        if wanted and level_of_theory not in families:
            raise ClassModelError(
                f"no label of the level of theory {level_of_theory!r}; there are "
                f"{', '.join(f'{name} ({len(v)})' for name, v in sorted(families.items()))}"
            )
        families = {k: v for k, v in families.items() if k == level_of_theory}
    if len(families) > 1:
        raise ClassModelError(
            "the labels are of several levels of theory: "
            f"{', '.join(f'{name} ({len(v)})' for name, v in sorted(families.items()))}; name one"
        )
    if not families:
        raise ClassModelError(_nothing(criteria, held_out, len(found)))
    level, labels = next(iter(families.items()))
    if len({label.energy_key for label in labels}) > 1:
        kinds = Counter(label.energy_key for label in labels)
        kind = min(kinds, key=lambda k: (-kinds[k], k))
        left_out["other kind of energy"] = len(labels) - kinds[kind]
        labels = [label for label in labels if label.energy_key == kind]
    labels = _one_input(labels, left_out)
    labels = _once(labels, left_out)
    known = {str(label.run_id) for label in labels}
    tables = [run.foundation for run_id, run in runs.items() if run_id in known]
    thresholds: dict[str, float] = {}
    for label in labels:
        if (threshold := runs.get(str(label.run_id), _Run()).threshold) is not None:
            formula = _formula(label)
            thresholds[formula] = min(threshold, thresholds.get(formula, math.inf))
    foundations = {json.dumps(table, sort_keys=True): table for table in tables}
    return Selection(
        tuple(labels),
        level,
        tuple(foundations[key] for key in sorted(foundations)),
        held_out,
        {why: n for why, n in left_out.items() if n},
        thresholds,
    )


def _formula(label: LabelDoc) -> str:
    return str(label.structure.composition.reduced_formula)


@dataclass(frozen=True)
class _Run:
    """What is asked of the run of a label."""

    level: str | None = None
    foundation: dict[str, Any] = field(default_factory=dict)
    threshold: float | None = None


def _runs(library: ModelLibrary, run_ids: set[str]) -> dict[str, _Run]:
    """Return what the library has of runs, by their identifiers."""
    assert library.runs_store is not None
    found = library.runs_store.query(
        {"run_id": {"$in": sorted(run_ids)}}, ["run_id", "spec", "labeller", "threshold_ev"]
    )
    known = {}
    for doc in found:
        spec = doc.get("spec") or {}
        level = (spec.get("labels") or {}).get("level_of_theory") or doc.get("labeller")
        foundation = spec.get("foundation") or {}
        known[doc["run_id"]] = _Run(level or None, foundation, doc.get("threshold_ev"))
    return known


def _level(label: LabelDoc, runs: Mapping[str, _Run]) -> str:
    return runs.get(str(label.run_id), _Run()).level or label.labeller or "unknown"


def _one_input(labels: Sequence[LabelDoc], left_out: Counter[str]) -> list[LabelDoc]:
    """Keep, of cells of one compound and size, those with the input that most of them have."""
    groups: dict[tuple[str, int], Counter[str]] = {}
    for label in labels:
        key = (_formula(label), len(label.structure))
        groups.setdefault(key, Counter())[label.input_hash or ""] += 1
    chosen = {key: min((-n, name) for name, n in found.items())[1] for key, found in groups.items()}
    kept = []
    for label in labels:
        if (label.input_hash or "") == chosen[_formula(label), len(label.structure)]:
            kept.append(label)
        else:
            left_out["other input"] += 1
    return kept


def _once(labels: Sequence[LabelDoc], left_out: Counter[str]) -> list[LabelDoc]:
    """Keep the first label of every configuration: runs share what was paid for."""
    kept: dict[str, LabelDoc] = {}
    for label in labels:
        if label.structure_hash in kept:
            left_out["configuration labelled twice"] += 1
        kept.setdefault(label.structure_hash, label)
    return list(kept.values())


def _nothing(criteria: Mapping[str, Any], excluded: Sequence[str], n_found: int) -> str:
    what = ", ".join(f"{k}={v}" for k, v in criteria.items()) or "any run"
    if n_found == 0:
        return f"the library has no labels of {what}: check the name, and that runs have ended"
    return f"all {n_found} labels of {what} are excluded ({', '.join(excluded)}) or of no run"
