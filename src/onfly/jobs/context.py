"""From a run's document to the objects that work on it."""

from __future__ import annotations

import logging
import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import numpy as np
from ase import Atoms
from pymatgen.core import Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts.workspace import RunWorkspace
from onfly.bayes.calibration import Calibration
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import Posterior, PosteriorState, posterior_from_dict
from onfly.bayes.prior import GaussianPrior
from onfly.dynamics.member import MemberPredictor
from onfly.dynamics.predictor import Predictor
from onfly.learning.target import potential_target
from onfly.potentials import Potential, load_foundation
from onfly.schemas import CalibrationDoc, FineTunedModelDoc, LabelDoc, RunDoc, to_atoms
from onfly.settings import OnflySettings, get_settings

__all__ = ["RunContext", "likelihood_scales", "open_run", "timed", "to_atoms", "to_structure"]

logger = logging.getLogger(__name__)


def likelihood_scales(doc: RunDoc | FineTunedModelDoc) -> LikelihoodScales:
    """Return σ_E and the base of σ_F of a run or model.

    A run that goes on from a model keeps the σ_E that the model's calibration refers to, whatever
    its own threshold is.
    """
    return LikelihoodScales.for_threshold(doc.threshold_ev, doc.settings.get("energy_std"))


@lru_cache(maxsize=2)
def _foundation(name: str, elements: tuple[str, ...], device: str) -> Potential:
    return load_foundation(name, elements=elements, device=device)


def to_structure(atoms: Atoms) -> Structure | Molecule:
    """Return a Structure, or a Molecule if no direction is periodic."""
    plain = Atoms(
        numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )
    if plain.pbc.any():
        return AseAtomsAdaptor.get_structure(plain)
    return Molecule(plain.get_chemical_symbols(), plain.positions)


class RunContext:
    """Objects that work on one run.

    Parameters
    ----------
    run
        The run; it is not changed.
    settings
        Of the machine; None reads them.
    """

    def __init__(self, run: RunDoc, settings: OnflySettings | None = None) -> None:
        self.settings = settings or get_settings()
        self.run = run
        self.workspace = RunWorkspace(self.settings.ARTIFACT_DIR, run.run_id)
        self.elements = tuple(sorted({str(e) for e in run.elements or []}))
        self.scales = likelihood_scales(run)

    @property
    def potential(self) -> Potential:
        """The foundation potential, loaded once per process."""
        return _foundation(self.run.foundation_model, self.elements, self.settings.DEVICE)

    @property
    def key(self) -> tuple[str | int, ...]:
        """Names the random streams: the run's seed and compound, not its random identifier."""
        return ("onfly", self.run.seed, self.run.formula_pretty or "", self.run.nsites or 0)

    @property
    def posterior(self) -> Posterior:
        """The posterior whose ensemble the run holds."""
        if self.run.ensemble is None:
            raise ValueError(f"run {self.run.run_id} has no ensemble yet")
        return posterior_from_dict(
            {"kind": self.run.ensemble.posterior, **self.run.ensemble.settings}
        )

    @property
    def offset(self) -> float:
        """E_foundation - E_DFT of the first label in eV."""
        if self.run.energy_offset is None:
            raise ValueError(f"run {self.run.run_id} has no label yet")
        return self.run.energy_offset

    def calibration(self) -> Calibration:
        """Return the calibration of the run."""
        return Calibration(**self.run.calibration.model_dump())

    def predictor(self, member: int | None = None, monitor_interval: int = 1) -> Predictor:
        """Load the ensemble; with a member, that one is the force field (see `MemberPredictor`)."""
        doc = self.run.ensemble
        if doc is None:
            raise ValueError(f"run {self.run.run_id} has no ensemble yet")
        state = self.workspace.load_ensemble(doc, self.settings.DEVICE)
        parts: Any = (self.potential, self.posterior, state, self.scales, doc.strategy)
        if member is None:
            return Predictor(*parts)
        return MemberPredictor(*parts, member=member, interval=monitor_interval)

    def target_factory(self, labels: list[LabelDoc]) -> partial:
        """Return a picklable function that builds the target of labels in any process."""
        return partial(
            potential_target,
            self.run.foundation_model,
            [to_atoms(label.structure) for label in labels],
            [label.energy + self.offset for label in labels],
            [np.array(label.forces) for label in labels],
            [None if label.stress is None else np.array(label.stress) for label in labels],
            self.scales,
            elements=self.elements,
            device=self.settings.DEVICE,
        )

    def foundation_prediction(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        """Return energy (eV, foundation scale) and forces (eV/Å) of the unchanged foundation."""
        potential = self.potential
        batch = potential.collate([potential.graph(atoms)])
        result = potential.evaluate(potential.parameters(), batch, forces=True, stress=False)
        assert result.forces is not None
        return float(result.energy[0]), result.forces.detach().double().cpu().numpy()


def drift_in_prior_stds(state: PosteriorState, posterior: Posterior, potential: Potential) -> float:
    """Return the RMS change of the weights from the foundation, in prior standard deviations."""
    prior_std = getattr(posterior, "prior_std", None) or potential.defaults.prior_std
    prior = GaussianPrior.around(potential.parameters(), prior_std, scale=potential.prior_scale())
    return math.sqrt(sum(prior.drift(member) ** 2 for member in state.members) / len(state.members))


def calibration_doc(calibration: Calibration) -> CalibrationDoc:
    """Return the document of a calibration."""
    return CalibrationDoc(**{k: getattr(calibration, k) for k in CalibrationDoc.model_fields})


def open_run(run: RunDoc, settings: OnflySettings | None = None) -> RunContext:
    """Return the objects that work on a run."""
    return RunContext(run, settings)


@contextmanager
def timed(cpu_seconds: dict[str, float], kind: str, *, children: bool = False) -> Iterator[None]:
    """Add the CPU time that a block takes to an account.

    With ``children`` also that of processes which the block started and waited for.
    """

    def now() -> float:
        if not children:
            return time.process_time()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + usage.ru_utime + usage.ru_stime

    start = now()
    try:
        yield
    finally:
        cpu_seconds[kind] = cpu_seconds.get(kind, 0.0) + now() - start


def evolve(run: RunDoc, **changes: Any) -> RunDoc:
    """Return the run with changes and a new time stamp."""
    from datetime import UTC, datetime

    return run.model_copy(update={**changes, "updated_at": datetime.now(UTC)})
