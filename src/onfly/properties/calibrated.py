"""By how much the spread of draws is widened, so that it says how wrong a property may be.

The calibrations of a run compare errors with the std that the posterior predicted: with
e ~ N(0, σ²/λ), what is known of λ makes the error a Student-t, whose central interval of 68.3 % has
the half width σ · s · t, s the scale of the calibration and t the quantile. Draws know σ only, so
their spread is multiplied by s · t. A property follows from the derivatives of the energy: elastic
constants and volumes take the calibration of stresses, phonons and MD that of forces. Where no
stress was ever compared with a label, the calibration of forces stands in, and without any of
forces that of energies.

The posterior counts the force components of a label as independent, and they are not. k of them
weigh as k/(1 + (k - 1) ρ): the design effect of clustered samples (Kish, Survey Sampling, 1965).
A property, to which all of them contribute with one systematic error (all bonds too soft, say), has
its spread widened by √(1 + (k - 1) ρ), k the components of a labelled cell. ρ is larger than that
of single force errors, which the calibration of forces assumes: it was chosen by the errors of
properties in runs against a teacher (docs/howto/properties.md).

The calibration only widens: where errors were smaller than σ said, that may be for the part of σ
that is not in the draws, and an error that all forces share shows little in each of them.

What the calibration cannot give to a property is the part of σ that is not in the draws (σ_E, σ_S,
what the fit left of the forces): it is noise by assumption, which has no shape that a property
could inherit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from onfly.bayes.clustered import effective_number
from onfly.dynamics.criteria import Calibrations
from onfly.properties.measured import Scale

__all__ = ["PROBABILITY", "clustering", "spread", "widening"]

# ρ of the errors that a property inherits from the components of a label
SHARED = 0.4
# of the interval that an error bar stands for: one std of a Gaussian
PROBABILITY = 0.6826894921370859


def widening(
    calibrations: Calibrations, scale: Scale, numbers: Sequence[int]
) -> tuple[float, Scale]:
    """Return the factor on the spread of draws, at least 1, and the calibration that it is of.

    Parameters
    ----------
    calibrations
        Of the run.
    scale
        Which one is wanted.
    numbers
        Atomic numbers of the cell; forces have a factor for each species.

    Returns
    -------
    tuple
        The factor, without unit, and the name of the calibration.

    Examples
    --------
    >>> from onfly.dynamics.criteria import Calibrations
    >>> factor, of = widening(Calibrations(), "stress", [29])
    >>> factor >= 1.0, of
    (True, 'energy')
    """
    factor, of = _half_width(calibrations, scale, numbers)
    return max(factor, 1.0), of


def _half_width(
    calibrations: Calibrations, scale: Scale, numbers: Sequence[int]
) -> tuple[float, Scale]:
    """Return the half width of the interval over an uncalibrated std, and whose it is."""
    tail = (1.0 - PROBABILITY) / 2.0
    if scale == "stress" and calibrations.stress.n > 0.0:
        stress = calibrations.stress
        return float(stress.scale_factor * stats.t.isf(tail, stress.dof)), "stress"
    if scale != "energy" and sum(calibrations.forces.n) > 0.0:
        squares = [calibrations.forces.interval(int(z), PROBABILITY) ** 2 for z in numbers]
        return math.sqrt(float(np.mean(squares))), "forces"
    return calibrations.energy.interval(1.0, PROBABILITY), "energy"


def clustering(n_atoms: int, correlation: float = SHARED) -> float:
    """Return the factor on the spread of draws for errors that a label's components share.

    Parameters
    ----------
    n_atoms
        Of a labelled cell.
    correlation
        ρ, between 0 and 1.

    Returns
    -------
    float
        At least 1.

    Examples
    --------
    >>> round(clustering(n_atoms=8), 2)
    3.19
    """
    count = 3 * n_atoms
    return math.sqrt(count / effective_number(count, correlation))


def spread(values: Sequence[np.ndarray] | Sequence[float], factor: float) -> np.ndarray:
    """Return the std over draws times the factor, elementwise; NaN of fewer than two draws.

    Parameters
    ----------
    values
        One for each draw, of any shape and unit.
    factor
        Of `widening`.

    Returns
    -------
    numpy.ndarray
        In the unit and shape of the values.

    Examples
    --------
    >>> spread([np.array([1.0, 2.0]), np.array([1.2, 2.0])], factor=2.0).round(3)
    array([0.283, 0.   ])
    """
    if len(values) < 2:
        return np.full(np.shape(values[0]) if len(values) else (), np.nan)
    return factor * np.std(np.array(values, dtype=float), axis=0, ddof=1)
