"""Calibration of predicted force uncertainties, species by species.

As for energies (`onfly.bayes.calibration`), the error of a component with predicted standard
deviation σ is modelled as e ~ N(0, σ²/λ) with λ ~ Gamma(a, b), now with a λ for each species. After
errors of effective number n and M = Σ e²/σ² the error of the next component is a Student-t with
2a + n degrees of freedom and scale σ sqrt((b + M/2)/(a + n/2)).

The 3 N components of a label are not 3 N independent errors: where a fit is wrong, it is wrong for
many atoms at once. Their squares are taken to have an intraclass correlation ρ within a label, so
that k of them weigh as k/(1 + (k - 1) ρ) (see `onfly.bayes.clustered`). A species with few errors
borrows: those of all others enter as at most `pool` errors of its own.

The prior (1.5, 6) widens raw standard deviations twofold. It was chosen on trajectories: an
ensemble that has learned its first labels errs 1.8 times its raw std on ethanol at 500 K, the
ensemble before less than its std. With a prior around 1 the first labels narrowed the std further,
and 27 % of the steps broke a tolerance that was promised for 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from onfly.bayes.clustered import check_errors, check_statistics, effective_number

__all__ = ["ForceCalibration", "intraclass_correlation"]


@dataclass(frozen=True)
class ForceCalibration:
    """Gamma posteriors of the precision factors λ of all species, as sufficient statistics.

    Parameters
    ----------
    shape, rate
        Gamma prior (a, b) of each λ.
    correlation
        ρ, the correlation of squared errors over variance between two components of a label.
    pool
        Largest weight of the errors of other species for one species, as a number of errors.
    surprise
        As for energies: where the mean square of a species' errors in a label has a tail
        probability p below this under the prediction, its history is multiplied by p/surprise
        before the label is counted. 0 never does.
    species
        Atomic numbers met so far, ascending.
    n
        Effective number of error components of each of them.
    sum_z2
        Sum of their squares in units of the predicted variance, with the same weights.

    Raises
    ------
    ValueError
        If a field is not finite or out of range.

    Examples
    --------
    >>> calibration = ForceCalibration()
    >>> calibration = calibration.update([[0.1, 0.0, -0.2]], [[0.1, 0.1, 0.1]], [8])
    >>> calibration.exceedance([[0.1, 0.1, 0.1]], 0.5, [8]).round(2)
    array([0.14])
    """

    shape: float = 1.5
    rate: float = 6.0
    correlation: float = 0.1
    pool: float = 10.0
    surprise: float = 0.0
    species: tuple[int, ...] = ()
    n: tuple[float, ...] = ()
    sum_z2: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_statistics(self.shape, self.rate, self.correlation, self.n, self.sum_z2)
        if not math.isfinite(self.pool) or self.pool < 0.0:
            raise ValueError(f"pool must be finite and not negative, got {self.pool!r}")
        if not 0.0 <= self.surprise < 1.0:
            raise ValueError(f"surprise must be in [0, 1), got {self.surprise!r}")
        if not len(self.species) == len(self.n) == len(self.sum_z2):
            raise ValueError("species, n and sum_z2 must be of one length")

    def update(
        self,
        errors: np.ndarray | Sequence[Sequence[float]],
        stds: np.ndarray | Sequence[Sequence[float]],
        species: np.ndarray | Sequence[int],
    ) -> ForceCalibration:
        """Return the calibration after the forces of one more label.

        Parameters
        ----------
        errors
            Predicted minus labelled force components, before the label was learned, shape (N, 3).
        stds
            Their uncalibrated standard deviations in the same unit, positive, shape (N, 3).
        species
            Atomic numbers, shape (N,).

        Raises
        ------
        ValueError
            If shapes do not fit, an error is not finite or a standard deviation not positive.
        """
        error, std, kinds = _checked(stds, species, errors)
        check_errors(error, std)
        z2 = (error / std) ** 2
        known = dict(zip(self.species, zip(self.n, self.sum_z2, strict=True), strict=True))
        for kind in np.unique(kinds):
            own = z2[kinds == kind].ravel()
            weight = self.effective_number(len(own))
            n, total = known.get(int(kind), (0.0, 0.0))
            keep = self._kept(int(kind), float(own.mean()), weight)
            known[int(kind)] = (keep * n + weight, keep * total + weight * float(own.mean()))
        ordered = sorted(known)
        return replace(
            self,
            species=tuple(ordered),
            n=tuple(known[kind][0] for kind in ordered),
            sum_z2=tuple(known[kind][1] for kind in ordered),
        )

    def effective_number(self, count: int) -> float:
        """Return the number of independent errors that `count` components of a label stand for."""
        return effective_number(count, self.correlation)

    def _kept(self, kind: int, mean_z2: float, weight: float) -> float:
        """Return the share of a species' history that the errors of a label leave."""
        if self.surprise == 0.0 or mean_z2 == 0.0:
            return 1.0
        shape, rate = self._posterior(kind)
        # the mean of `weight` squared errors over the expected one is an F variable
        tail = float(stats.f.sf(mean_z2 * shape / rate, weight, 2.0 * shape))
        return min(1.0, tail / self.surprise)

    def _posterior(self, kind: int) -> tuple[float, float]:
        """Return shape and rate of λ of a species."""
        n, total = 0.0, 0.0
        if kind in self.species:
            place = self.species.index(kind)
            n, total = self.n[place], self.sum_z2[place]
        others, borrowed = sum(self.n) - n, sum(self.sum_z2) - total
        if others > 0.0:
            weight = min(1.0, self.pool / others)
            n, total = n + weight * others, total + weight * borrowed
        return self.shape + n / 2.0, self.rate + total / 2.0

    def dof(self, species: int) -> float:
        """Return the degrees of freedom of the Student-t of a species."""
        return 2.0 * self._posterior(int(species))[0]

    def scale_factor(self, species: int) -> float:
        """Return the factor on an uncalibrated standard deviation of a species."""
        shape, rate = self._posterior(int(species))
        return math.sqrt(rate / shape)

    def interval(self, species: int, probability: float = 0.95) -> float:
        """Return the half width of a component's central interval over its uncalibrated std."""
        if not 0.0 < probability < 1.0:
            raise ValueError(f"the probability must be between 0 and 1, got {probability!r}")
        tail = (1.0 - probability) / 2.0
        return float(self.scale_factor(species) * stats.t.isf(tail, self.dof(species)))

    def exceedance(
        self,
        std: np.ndarray | Sequence[Sequence[float]],
        threshold: float,
        species: np.ndarray | Sequence[int],
        *,
        of: Literal["vector", "component"] = "vector",
    ) -> np.ndarray:
        """Return the probability, for each atom, that its force error exceeds a threshold.

        Parameters
        ----------
        std
            Uncalibrated standard deviations of the components, shape (N, 3). Where one is not
            finite the answer is 1, so that a broken prediction always asks for a label.
        threshold
            In the same unit.
        species
            Atomic numbers, shape (N,).
        of
            ``"vector"``: that the length of the error vector exceeds it. The square of the length
            over its expected value is then an F variable with k and 2a + n degrees of freedom,
            k = (Σ σ²)²/Σ σ⁴ (3 if the components are alike, 1 if one rules: exact in both cases;
            in between, Satterthwaite's approximation). ``"component"``: an upper bound of the
            probability that any component exceeds it, the sum over the three.

        Returns
        -------
        numpy.ndarray
            Shape (N,).

        Raises
        ------
        ValueError
            If shapes do not fit, the threshold is not finite and positive, or a standard deviation
            is negative.
        """
        if not math.isfinite(threshold) or threshold <= 0.0:
            raise ValueError(f"the threshold must be finite and positive, got {threshold!r}")
        if of not in ("vector", "component"):
            raise ValueError(f"of must be 'vector' or 'component', got {of!r}")
        _, sigma, kinds = _checked(std, species)
        if (sigma < 0.0).any():
            raise ValueError("a standard deviation cannot be negative")
        broken = ~np.isfinite(sigma).all(1)
        result = np.zeros(len(kinds))
        for kind in np.unique(kinds):
            chosen = (kinds == kind) & ~broken & (sigma > 0.0).any(1)
            scaled = sigma[chosen] * self.scale_factor(int(kind))
            dof = self.dof(int(kind))
            if of == "vector":
                # over the largest, so that no fourth power underflows
                largest = scaled.max(1, keepdims=True)
                ratio = (scaled / largest) ** 2
                total = ratio.sum(1)
                k = total**2 / (ratio**2).sum(1)
                with np.errstate(over="ignore"):
                    square = (threshold / largest[:, 0]) ** 2
                result[chosen] = stats.f.sf(square / total, k, dof)
            else:
                with np.errstate(divide="ignore"):
                    tails = 2.0 * stats.t.sf(threshold / scaled, dof)
                result[chosen] = np.minimum(1.0, tails.sum(1))
        result[broken] = 1.0
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values that go into JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ForceCalibration:
        """Return the calibration that `to_dict` wrote."""
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
        }
        return cls(**plain)


def _checked(
    std: np.ndarray | Sequence[Sequence[float]],
    species: np.ndarray | Sequence[int],
    errors: np.ndarray | Sequence[Sequence[float]] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sigma, kinds = np.asarray(std, dtype=float), np.asarray(species)
    error = sigma if errors is None else np.asarray(errors, dtype=float)
    if sigma.shape != (len(kinds), 3) or error.shape != sigma.shape:
        raise ValueError(
            f"need components of shape (N, 3) and N species: got {error.shape}, {sigma.shape} and "
            f"{kinds.shape}"
        )
    return error, sigma, kinds


def intraclass_correlation(labels: Sequence[np.ndarray]) -> float:
    """Return the correlation of values within a label, by one-way analysis of variance.

    Parameters
    ----------
    labels
        For each label its values, such as squared errors over variance; at least two labels, and
        two values in one of them.

    Returns
    -------
    float
        Between 0 and 1 (negative estimates count as 0).

    Notes
    -----
    ρ = (B - W)/(B + (k - 1) W), with the mean squares B between and W within labels, and k the
    mean number of values (Snedecor and Cochran, Statistical Methods, section 13).
    """
    values = [np.asarray(label, dtype=float).ravel() for label in labels]
    sizes = np.array([len(v) for v in values])
    total = int(sizes.sum())
    if len(values) < 2 or total <= len(values):
        raise ValueError("need at least two labels, and more values than labels")
    grand = np.concatenate(values).mean()
    between = sum(len(v) * (v.mean() - grand) ** 2 for v in values) / (len(values) - 1)
    within = sum(float(((v - v.mean()) ** 2).sum()) for v in values) / (total - len(values))
    k = (total - float((sizes**2).sum()) / total) / (len(values) - 1)
    if between + (k - 1) * within == 0.0:
        return 0.0
    return float(np.clip((between - within) / (between + (k - 1) * within), 0.0, 1.0))
