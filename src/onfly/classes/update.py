"""One update of a class: from the labels of the library to the next version of its model."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from onfly.bayes.prior import GaussianPrior
from onfly.classes.breadth import errors_of, measure_breadth
from onfly.classes.document import ClassCompoundDoc, ClassModelDoc
from onfly.classes.examples import Example, aligned, predict, replayed, rms
from onfly.classes.fit import ClassFit, fit_weights
from onfly.classes.held_out import HeldOut, leave_out
from onfly.classes.library import FOLDER, ClassLibrary
from onfly.classes.licences import licences_of
from onfly.classes.loading import with_trust
from onfly.classes.names import PREFIX, ClassModelError, ClassName
from onfly.classes.replay import unrelated_crystals, wall_pairs
from onfly.classes.selection import Selection
from onfly.potentials import Params, Potential, load_foundation
from onfly.potentials.families import TRUST
from onfly.schemas import LabelDoc, to_atoms
from onfly.schemas.packages import installed_versions
from onfly.settings import OnflySettings, get_settings
from onfly.spec import FoundationSpec
from onfly.spec.classes import ClassFitSpec

__all__ = ["ClassUpdate", "example_of", "root_foundation", "update_class"]

logger = logging.getLogger(__name__)

# raised when other weights follow from the same labels and settings
_RECIPE = 1
_PACKAGES = ("onfly", "torch", "ase", "chgnet", "mace-torch", "sevenn", "nequip")


@dataclass(frozen=True)
class ClassUpdate:
    """A version, and whether it was made now.

    Parameters
    ----------
    doc
        Its document.
    is_new
        False if a version of the same labels and settings was there.
    """

    doc: ClassModelDoc
    is_new: bool


def example_of(label: LabelDoc) -> Example:
    """Return a label as an example, energy on the labeller's scale."""
    return Example(
        to_atoms(label.structure),
        label.energy,
        np.array(label.forces, dtype=float),
        None if label.stress is None else np.array(label.stress, dtype=float),
        str(label.structure.composition.reduced_formula),
    )


def root_foundation(selection: Selection, classes: ClassLibrary) -> FoundationSpec:
    """Return the foundation that the runs of some labels descend from.

    Raises
    ------
    ClassModelError
        If they descend from several, or it is not known.
    """
    roots = {}
    for table in selection.foundations:
        spec = FoundationSpec.model_validate(table)
        if spec.source.startswith(PREFIX):
            spec = classes.get(ClassName.parse(spec.source)).foundation
        spec = with_trust(spec, False)
        roots[spec.model_dump_json()] = spec
    if len(roots) != 1:
        there = ", ".join(sorted(spec.source for spec in roots.values())) or "unknown"
        raise ClassModelError(
            f"the runs of these labels began from several foundations, or it is not known from "
            f"which ({there}): name the one that the class is fitted from"
        )
    return next(iter(roots.values()))


def update_class(
    name: str,
    selection: Selection,
    classes: ClassLibrary,
    *,
    foundation: FoundationSpec | None = None,
    spec: ClassFitSpec | None = None,
    replay: Sequence[Atoms] = (),
    unrelated: Sequence[Example] = (),
    licences: Mapping[str, str] | None = None,
    campaign: str | None = None,
    settings: OnflySettings | None = None,
    store: bool = True,
) -> ClassUpdate:
    """Fit a class model to labels, measure it, and write it as the next version.

    Nothing of the versions before goes into the new one: it is fitted anew from the foundation.
    Labels and settings that have a version already give that one.

    Parameters
    ----------
    name
        Of the class.
    selection
        The labels; see `onfly.classes.selection.select_labels`.
    classes
        Where versions are.
    foundation
        What the fit starts from; None takes that of the labels' runs.
    spec
        How it is fitted.
    replay
        Further configurations on which the foundation's predictions are kept.
    unrelated
        Labels of unrelated structures; the error on them before and after is recorded.
    licences
        Further ones, such as that of the labels.
    campaign
        For the document.
    settings
        Of the machine; None reads them.
    store
        Whether to write to the stores; a job puts the document out instead.

    Raises
    ------
    ClassModelError
        If foundation or labels do not go together.
    onfly.bayes.chain.ChainDivergedError
        If the fit diverges.
    """
    name = ClassName.parse(name).name
    spec, settings = spec or ClassFitSpec(), settings or get_settings()
    foundation = foundation or root_foundation(selection, classes)
    trusted = foundation.options.get(TRUST) is True
    if foundation.source.startswith(PREFIX):
        foundation = classes.get(ClassName.parse(foundation.source)).foundation
    start = time.process_time()
    below = with_trust(foundation, trusted)
    potential = load_foundation(below, elements=None, device=settings.DEVICE)
    foundation = with_trust(foundation, False)
    labels = [example_of(label) for label in selection.labels]
    elements = sorted({symbol for e in labels for symbol in e.counts})
    if unknown := sorted(set(elements) - set(potential.elements)):
        raise ClassModelError(
            f"{foundation.source} does not know the element(s) {', '.join(unknown)} of the labels"
        )
    fingerprint = _fingerprint(foundation, potential, selection, spec, replay)
    known = classes.documents(name)
    for doc in known:
        if doc.fingerprint == fingerprint:
            logger.info("class model %s holds these labels already", doc.class_id)
            if store and classes.artifact_store.exists(doc.weights_file):
                classes.store(doc)
            return ClassUpdate(doc, False)
    cache = classes.artifact_store.root / FOLDER / "fits" / fingerprint[:16]
    work = _Work(potential, spec, cache, settings.n_workers)
    fitted, moved, before, shifts = work.fit(labels, "all labels", replay)
    cpu = {"fit": fitted.cpu_seconds}
    after = predict(potential, fitted.params, [e.atoms for e in moved])
    held_out: HeldOut | None = None
    if spec.folds:
        began = time.process_time()
        held_out = leave_out(
            potential,
            labels,
            spec,
            work.without,
            seed_key=("class", spec.seed),
            thresholds=selection.thresholds,
        )
        cpu["left out"] = time.process_time() - began
    began = time.process_time()
    crystals = unrelated_crystals(
        potential,
        spec.check,
        elements,
        ("class", spec.seed, "check"),
        not_these=work.replay_crystals(elements),
    )
    breadth = measure_breadth(potential, fitted.params, crystals, wall_pairs(elements), unrelated)
    cpu["check"] = time.process_time() - began
    defaults = potential.defaults
    prior_std = spec.prior_std or defaults.prior_std
    prior = GaussianPrior.around(potential.parameters(), prior_std)
    newest = max((doc.version for doc in known), default=0)
    doc = ClassModelDoc(
        class_id=f"{name}@{newest + 1}",
        name=name,
        version=newest + 1,
        fingerprint=fingerprint,
        foundation=foundation,
        foundation_sha256=potential.sha256,
        parents=[foundation.source],
        licences=licences_of(foundation.source) | dict(licences or {}),
        campaign=campaign,
        level_of_theory=selection.level_of_theory,
        energy_keys=sorted({label.energy_key for label in selection.labels}),
        input_hashes=sorted({label.input_hash or "unknown" for label in selection.labels}),
        n_labels=len(labels),
        label_ids=[f"{label.run_id}-{label.index or 0:05d}" for label in selection.labels],
        run_ids=sorted({str(label.run_id) for label in selection.labels}),
        elements=elements,
        compounds=_compounds(moved, before, after, shifts.per_compound),
        excluded=list(selection.excluded),
        left_out=dict(selection.left_out or {}),
        element_offsets=dict(shifts.per_element),
        n_replay=work.n_replay,
        prior_std=held_out.prior_std if held_out else prior_std,
        fit_prior_std=prior_std,
        calibration_shape=held_out.shape if held_out else defaults.shape,
        calibration_rate=held_out.rate if held_out else defaults.rate,
        measured=held_out is not None and held_out.doc.n_learning > 0,
        held_out=held_out.doc if held_out else None,
        breadth=breadth,
        drift=prior.drift(fitted.params),
        settings=spec,
        weights_file=classes.artifact_store.save_tensors(fitted.params, f"{FOLDER}/weights"),
        cpu_seconds=cpu | {"total": time.process_time() - start},
        versions=installed_versions(_PACKAGES),
    )
    write = classes.publish if store else classes.write_document
    doc = write(doc)
    work.clear()
    logger.info("class model %s of %d labels", doc.class_id, doc.n_labels)
    return ClassUpdate(doc, True)


class _Work:
    """Fits of one update, which share replay and cache."""

    def __init__(
        self, potential: Potential, spec: ClassFitSpec, cache: Path, n_threads: int
    ) -> None:
        self.potential, self.spec, self.cache = potential, spec, cache
        self.n_threads = n_threads
        self.n_replay = 0
        self._labels: list[Example] = []
        self._given: tuple[Atoms, ...] = ()

    def replay_crystals(self, elements: Sequence[str]) -> list[Atoms]:
        """Return the crystals that are replayed."""
        key = ("class", self.spec.seed, "replay")
        return unrelated_crystals(self.potential, self.spec.replay, elements, key)

    def fit(
        self, labels: Sequence[Example], what: str, given: Sequence[Atoms] = ()
    ) -> tuple[ClassFit, list[Example], list[Example], Any]:
        """Return fit, aligned labels, the foundation's predictions, and the alignment."""
        self._labels, self._given = list(labels), tuple(given)
        return self._fit(labels, what)

    def without(self, compounds: Sequence[str], what: str) -> Params:
        """Return the weights of a class of some of the compounds, replay as of all."""
        return self._fit([e for e in self._labels if e.compound in compounds], what)[0].params

    def _fit(
        self, labels: Sequence[Example], what: str
    ) -> tuple[ClassFit, list[Example], list[Example], Any]:
        own = self.potential.parameters()
        before = predict(self.potential, own, [e.atoms for e in labels])
        moved, shifts = aligned(labels, before, self.spec.element_ridge)
        elements = sorted({symbol for e in self._labels for symbol in e.counts})
        kept: list[Atoms] = list(self._given)
        if self.spec.replay:
            kept += [*self.replay_crystals(elements), *wall_pairs(elements)]
        self.n_replay = len(kept)
        logger.info("fit to %s: %d labels, %d replayed", what, len(moved), len(kept))
        fitted = fit_weights(
            self.potential,
            [*moved, *replayed(self.potential, own, kept)],
            self.spec,
            seed_key=("class", self.spec.seed, what),
            cache_dir=self.cache,
            n_threads=self.n_threads,
        )
        return fitted, moved, before, shifts

    def clear(self) -> None:
        """Remove the cache of finished fits."""
        for path in self.cache.glob("chain-*.safetensors"):
            path.unlink()
        if self.cache.is_dir():
            self.cache.rmdir()


def _fingerprint(
    foundation: FoundationSpec,
    potential: Potential,
    selection: Selection,
    spec: ClassFitSpec,
    replay: Sequence[Atoms],
) -> str:
    digest = hashlib.sha256(foundation.model_dump_json().encode())
    content = [_RECIPE, potential.sha256, spec.model_dump(mode="json")]
    digest.update(json.dumps(content).encode())
    thresholds = sorted(selection.thresholds.items())
    told_of_runs = [selection.level_of_theory, selection.excluded, thresholds]
    digest.update(json.dumps(told_of_runs).encode())
    for label in selection.labels:
        told = [label.run_id, label.index, label.structure_hash, label.energy, label.forces]
        digest.update(json.dumps([*told, label.stress]).encode())
    for atoms in replay:
        for array in (atoms.numbers, atoms.positions, atoms.cell.array):
            digest.update(array.tobytes())
    return digest.hexdigest()


def _compounds(
    labels: Sequence[Example],
    before: Sequence[Example],
    after: Sequence[Example],
    offsets: Mapping[str, float],
) -> dict[str, ClassCompoundDoc]:
    (energy0, force0), (energy1, force1) = errors_of(labels, before), errors_of(labels, after)
    found = {}
    for name in sorted({e.compound for e in labels}):
        which = [k for k, e in enumerate(labels) if e.compound == name]
        found[name] = ClassCompoundDoc(
            n_labels=len(which),
            offset=offsets[name],
            energy_rmse=rms([energy1[which]]),
            energy_rmse_before=rms([energy0[which]]),
            force_rmse=rms([force1[k] for k in which]),
            force_rmse_before=rms([force0[k] for k in which]),
        )
    return found
