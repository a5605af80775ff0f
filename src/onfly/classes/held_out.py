"""Width and calibration of runs from a class model, measured by leaving compounds out.

The compounds are divided into folds. For each fold the class is fitted to the others, from the
alignment of energies on; then some of its compounds do what a run does: they learn their first
labels, and predict the rest. How far the weights have to move, from the class model and from the
foundation, gives the width of the prior; the errors in units of the predicted standard deviations
give the Gamma prior of the calibration. The cost is that of one fit for each fold, and of two
updates for each compound that learns.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import minimize

from onfly.bayes.calibration_prior import negative_log_posterior
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import PosteriorState, posterior_from_dict
from onfly.classes.breadth import errors_of
from onfly.classes.document import HeldOutDoc
from onfly.classes.examples import Example, predict, rms
from onfly.classes.loading import reweighed
from onfly.classes.target import example_data
from onfly.dynamics.predictor import Predictor
from onfly.learning.target import PotentialTarget
from onfly.potentials import Params, Potential
from onfly.seeds import numpy_stream
from onfly.spec.classes import ClassFitSpec

__all__ = ["HeldOut", "folds_of", "gamma_prior", "leave_out"]

logger = logging.getLogger(__name__)

# of λ: shapes beyond claim more than a handful of compounds can tell
SHAPES = (0.75, 10.0)
# of σ_TL of the foundation
RATIOS = (0.1, 1.0)

Fit = Callable[[Sequence[str], str], Params]


@dataclass(frozen=True)
class HeldOut:
    """What was measured.

    Parameters
    ----------
    doc
        For the document.
    prior_std
        σ_TL around the class model.
    shape, rate
        Gamma prior of the calibration.
    """

    doc: HeldOutDoc
    prior_std: float
    shape: float
    rate: float


def folds_of(compounds: Sequence[str], n_folds: int, seed: int) -> list[list[str]]:
    """Divide compounds into folds of nearly one size; there are no more folds than compounds."""
    names = sorted(set(compounds))
    order = numpy_stream("class", seed, "folds").permutation(len(names))
    count = min(n_folds, len(names))
    return [sorted(names[i] for i in order[k::count]) for k in range(count)]


def gamma_prior(z2: Sequence[np.ndarray], shape: float, rate: float) -> tuple[float, float]:
    """Return the Gamma prior of λ that makes the errors of several compounds most probable.

    Each compound has a λ of its own, as each run in `onfly.bayes.calibration_prior`, and the weak
    prior is centred on the foundation's.

    Parameters
    ----------
    z2
        Squared errors in units of the predicted std, by compound.
    shape, rate
        Of the foundation.
    """
    counts = np.array([len(v) for v in z2], dtype=float)
    sums = np.array([float(np.sum(v)) for v in z2])

    found = minimize(
        lambda x: negative_log_posterior(x[0], x[1] - x[0], counts, sums, (shape, rate)),
        [math.log(shape), math.log(rate)],
        method="Nelder-Mead",
    )
    a, b = np.exp(found.x)
    bounded = float(np.clip(a, *SHAPES))
    return bounded, float(b * bounded / a)


def leave_out(
    potential: Potential,
    examples: Sequence[Example],
    spec: ClassFitSpec,
    fit: Fit,
    *,
    seed_key: tuple[str | int, ...],
    thresholds: Mapping[str, float] | None = None,
) -> HeldOut | None:
    """Measure width and calibration; None if there are too few compounds or labels.

    Parameters
    ----------
    potential
        The foundation.
    examples
        Labels, energies on the labeller's scale.
    spec
        Number of folds, of compounds that learn, and of the labels they learn.
    fit
        Returns the weights of a class of some compounds only; the second argument names it.
    seed_key
        Names the random streams.
    thresholds
        Energy tolerance of the cell in the runs of a compound, eV: σ_E, which is part of a
        predicted std, follows from it.
    """
    folds = folds_of([e.compound for e in examples], spec.folds, spec.seed)
    if len(folds) < 2:
        return None
    own = potential.parameters()
    errors: dict[str, list[np.ndarray]] = {"E": [], "E0": [], "F": [], "F0": []}
    moved: list[float] = []
    z2: list[np.ndarray] = []
    allowed = -(-spec.fold_compounds // len(folds))
    for number, fold in enumerate(folds):
        others = sorted({e.compound for e in examples} - set(fold))
        params = fit(others, f"fold {number + 1} of {len(folds)}")
        held = [e for e in examples if e.compound in fold]
        atoms = [e.atoms for e in held]
        for weights, mark in ((params, ""), (own, "0")):
            energy, force = errors_of(held, predict(potential, weights, atoms))
            errors[f"E{mark}"].append(energy)
            errors[f"F{mark}"] += force
        start = reweighed(potential, params, potential.defaults)
        learning = [c for c in fold if sum(e.compound == c for e in held) > spec.fold_labels]
        for compound in learning[: min(allowed, spec.fold_compounds - len(z2))]:
            labels = [e for e in held if e.compound == compound]
            scales = LikelihoodScales.for_threshold(
                (thresholds or {}).get(compound), n_atoms=len(labels[0].atoms)
            )
            found, drift = _run_from(start, labels, scales, spec, (*seed_key, compound))
            _, drift0 = _run_from(potential, labels, scales, spec, (*seed_key, compound))
            z2.append(found)
            moved.append(drift / max(drift0, 1e-12))
            logger.info("%s left out: weights move %.2f as far", compound, moved[-1])
    defaults = potential.defaults
    doc = HeldOutDoc(
        n_folds=len(folds),
        n_compounds=len({e.compound for e in examples}),
        energy_rmse=rms(errors["E"]),
        energy_rmse_before=rms(errors["E0"]),
        force_rmse=rms(errors["F"]),
        force_rmse_before=rms(errors["F0"]),
        n_learning=len(z2),
    )
    if not z2:
        return HeldOut(doc, defaults.prior_std, defaults.shape, defaults.rate)
    ratio = float(np.median(moved))
    shape, rate = gamma_prior(z2, defaults.shape, defaults.rate)
    doc = doc.model_copy(
        update={
            "width_ratio": ratio,
            "scale_factor": float(np.sqrt(np.mean(np.concatenate(z2)))),
        }
    )
    prior_std = (spec.prior_std or defaults.prior_std) * float(np.clip(ratio, *RATIOS))
    return HeldOut(doc, prior_std, shape, rate)


def _run_from(
    potential: Potential,
    labels: Sequence[Example],
    scales: LikelihoodScales,
    spec: ClassFitSpec,
    seed_key: tuple[str | int, ...],
) -> tuple[np.ndarray, float]:
    """Let a compound learn its first labels, as a run does.

    Returns
    -------
    tuple
        Squared errors of the other labels' energies in predicted stds, and the RMS change of the
        weights.
    """
    own = potential.parameters()
    first, rest = labels[: spec.fold_labels], labels[spec.fold_labels :]
    # as a run: the first label gives the offset
    offset = predict(potential, own, [first[0].atoms])[0].energy - first[0].energy
    moved = [replace(e, energy=e.energy + offset) for e in first]
    posterior = posterior_from_dict({"kind": "last_layer"})
    factory: Any = partial(_target, potential, moved, scales)
    state, _ = posterior.update(
        posterior.initial(potential, seed_key),
        factory,
        seed_key=seed_key,
        generation=1,
        n_new=len(first),
    )
    predictor = Predictor(potential, posterior, state, scales)
    found = []
    for example in rest:
        prediction = predictor.predict(example.atoms, stress=False)
        error = prediction.energy - offset - example.energy
        found.append((error / prediction.energy_std) ** 2)
    return np.array(found), _moved(state, own)


def _target(
    potential: Potential, examples: Sequence[Example], scales: LikelihoodScales
) -> PotentialTarget:
    atoms = [e.atoms for e in examples]
    return PotentialTarget(potential, *example_data(potential, examples), scales, atoms=atoms)


def _moved(state: PosteriorState, own: Params) -> float:
    """Return the RMS change of the weights of the members."""
    changes: list[Any] = []
    for member in state.members:
        for name, value in own.items():
            changes.append((member[name] - value).detach().double().cpu().numpy())
    return rms(changes)
