"""The ASE calculator of a fine-tuned model: mean and uncertainty of its posterior."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from onfly.bayes.calibration import Calibration
from onfly.dynamics.predictor import Predictor, StepPrediction
from onfly.library.energy_offset import EnergyOffset, EnergyScaleError

__all__ = ["EnergyScale", "PosteriorCalculator"]

EnergyScale = Literal["labels", "foundation"]
_ENERGIES = ("energy", "free_energy", "energy_std")
_ALWAYS = ("energy", "free_energy", "forces", "stress", "energy_std")


class PosteriorCalculator(Calculator):
    """Mean and uncertainty of a fine-tuned model.

    Results are ``energy`` and ``free_energy`` (eV, on the scale of the labels), ``forces`` (eV/Å),
    ``stress`` (eV/Å³, Voigt, tension positive; periodic cells only) and ``energy_std`` (eV, the
    std of the calibrated Student-t, which contains the errors seen in the run). Where the
    posterior knows them there are also, computed when they are asked for
    (``calculator.get_property("forces_std", atoms)``), ``forces_std`` (eV/Å, per
    atom and component, shape (N, 3)) and ``stress_std`` (eV/Å³, Voigt), both without the
    calibration, which knows energies only. A posterior with one std for all atoms has no
    ``forces_std``.

    Cells of another size
        The offset between foundation and labels scales with the number of formula units. So do
        σ_E, the part of the std that is not known from the posterior, and the threshold of
        `probability`: both are those of the labelled cell, and an error of a cell repeated n times
        is n times as large. In a supercell whose parts err independently of each other the std is
        thereby overestimated, by √n at most.
    Other compositions of the same elements
        Energies have no zero there (see `EnergyOffset`): ``energy``, ``free_energy``,
        ``energy_std`` and `probability` raise `EnergyScaleError`, a `PropertyNotImplementedError`;
        forces and stress are there. In ASE, MD runs and writes trajectories (without energies);
        optimizers, cell filters and ``MDLogger`` ask for the energy and stop with the message.
        With ``energy_scale="foundation"`` the offset is left out for every composition and all of
        them run.

    Parameters
    ----------
    predictor
        The posterior.
    offset
        Foundation minus label energy.
    calibration
        Of the run.
    threshold
        Of the run, in eV for the labelled cell: default of `probability`.
    name
        Of the model, for messages.
    energy_scale
        ``"labels"``, or ``"foundation"`` for energies without the offset.

    Raises
    ------
    ValueError
        If the energy scale is unknown.
    EnergyScaleError
        By energies of a composition for which the model has no zero.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> library = ModelLibrary.from_settings()
    >>> model = library.latest("CuAu")
    >>> atoms = model.structure.to_ase_atoms(msonable=False)
    >>> atoms.calc = library.calculator(model.model_id)
    >>> f"{atoms.get_potential_energy():.3f} ± {atoms.calc.results['energy_std']:.3f} eV"
    '0.113 ± 0.127 eV'
    >>> atoms.calc.get_property("forces_std", atoms).shape
    (4, 3)
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        offset: EnergyOffset,
        calibration: Calibration,
        threshold: float | None,
        name: str = "fine-tuned model",
        energy_scale: EnergyScale = "labels",
    ) -> None:
        if energy_scale not in ("labels", "foundation"):
            raise ValueError(f"energy_scale {energy_scale!r} is neither 'labels' nor 'foundation'")
        super().__init__()
        self.predictor = predictor
        self.offset = offset
        self.calibration = calibration
        self.threshold = threshold
        self.model_name = name
        self.energy_scale = energy_scale
        self._raw_std = math.nan
        self._refusal: str | None = None
        # what this posterior gives; ASE refuses what is not in the list before anything is done
        components = "stress_std" in StepPrediction.__dataclass_fields__
        self._spread = components or len(predictor.state.members) > 1
        self.implemented_properties = [
            *_ALWAYS,
            *(("forces_std",) if self._spread else ()),
            *(("stress_std",) if components else ()),
        ]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Evaluate a configuration; see `ase.calculators.calculator.Calculator`.

        Raises
        ------
        ValueError
            If there are elements the model does not know.
        """
        super().calculate(atoms, properties, system_changes)
        current = self.atoms
        assert isinstance(current, Atoms)
        self._check_elements(current)
        periodic = bool(current.pbc.all())
        # these cost several times as much as the forces, so that only who asks pays for them
        asked = self._spread and not {"forces_std", "stress_std"}.isdisjoint(properties)
        prediction = self.predictor.predict(current, stress=periodic, forces_std=asked)
        self.results = {"forces": prediction.forces}
        self._add_stds(prediction)
        if periodic and prediction.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress)
        counts = Counter(current.get_chemical_symbols())
        self._refusal = None
        try:
            offset = 0.0 if self.energy_scale == "foundation" else self.offset.of(counts)
        except EnergyScaleError as error:
            self._refusal = f"{self.model_name} on {current.get_chemical_formula()}: {error}"
            return
        energy = prediction.energy - offset
        self._raw_std = self._scaled_std(prediction.energy_std, len(current))
        self.results["energy"] = self.results["free_energy"] = energy
        self.results["energy_std"] = self._raw_std * self._std_factor

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """Return a result; see `ase.calculators.calculator.Calculator`.

        Raises
        ------
        EnergyScaleError
            If an energy is asked of a composition that has no zero of energy.
        PropertyNotImplementedError
            If the model does not give this property.
        """
        try:
            return super().get_property(name, atoms, allow_calculation)
        except PropertyNotImplementedError:
            if name in _ENERGIES and self._refusal is not None:
                raise EnergyScaleError(self._refusal) from None
            raise

    def probability(self, threshold: float | None = None) -> float:
        """Return the probability that the last energy is wrong by more than a threshold.

        Parameters
        ----------
        threshold
            eV, for the cell that was calculated; None takes the run's, per formula unit.

        Raises
        ------
        RuntimeError
            If nothing was calculated yet.
        EnergyScaleError
            If the composition has no zero of energy.
        """
        if self._refusal is not None and self.results:
            raise EnergyScaleError(self._refusal)
        if "energy" not in self.results:
            raise RuntimeError("no energy was calculated yet: call atoms.get_potential_energy()")
        assert isinstance(self.atoms, Atoms)
        if threshold is None:
            if self.threshold is None:
                raise ValueError("the model has no energy tolerance: give a threshold in eV")
            threshold = self.threshold * self._size(len(self.atoms))
        limit = threshold
        return self.calibration.exceedance(self._raw_std, limit)

    @property
    def _std_factor(self) -> float:
        """Std of the Student-t per uncalibrated std; infinite with 2 degrees of freedom or less."""
        dof = self.calibration.dof
        if dof <= 2.0:
            return math.inf
        return self.calibration.scale_factor * math.sqrt(dof / (dof - 2.0))

    def _size(self, n_atoms: int) -> float:
        return n_atoms / self.offset.n_atoms

    def _scaled_std(self, std: float, n_atoms: int) -> float:
        """Return the uncalibrated std (eV) with σ_E of a cell of this size."""
        if n_atoms == self.offset.n_atoms:
            return std
        sigma = self.predictor.scales.energy_std
        return math.hypot(math.sqrt(max(std**2 - sigma**2, 0.0)), self._size(n_atoms) * sigma)

    def _add_stds(self, prediction: StepPrediction) -> None:
        if self._spread and prediction.forces_std is not None:
            values = np.asarray(prediction.forces_std, float)
            if values.ndim == 1:  # one std per atom is that of each of its components
                values = np.repeat(values[:, None], 3, axis=1)
            self.results["forces_std"] = values
        stress_std = getattr(prediction, "stress_std", None)
        if stress_std is not None:
            self.results["stress_std"] = full_3x3_to_voigt_6_stress(stress_std)

    def _check_elements(self, atoms: Atoms) -> None:
        known = self.predictor.potential.elements
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(known))
        if unknown:
            raise ValueError(
                f"{self.model_name} knows {', '.join(sorted(known))} and cannot describe "
                f"{', '.join(unknown)}: fine-tune a model for this compound"
            )
