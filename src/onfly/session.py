"""What a process holds while it works on runs: settings, loaded potentials, folders.

A session is made by whoever starts the work (a job, the command line, a test) and handed down; it
is the only place where a document becomes the objects that work on it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms

from onfly.artifacts.workspace import RunWorkspace
from onfly.bayes.calibration import Calibration
from onfly.bayes.force_calibration import ForceCalibration
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import Posterior, PosteriorState, posterior_from_dict
from onfly.bayes.prior import GaussianPrior
from onfly.bayes.stress_calibration import StressCalibration
from onfly.dynamics.criteria import Calibrations
from onfly.dynamics.member import MemberPredictor
from onfly.dynamics.near_labels import NearLabels
from onfly.dynamics.predictor import Predictor
from onfly.labels.store import LabelStore
from onfly.learning.target import potential_target, shared_potential
from onfly.potentials import Potential
from onfly.proof import Ledger
from onfly.schemas import (
    CalibrationDoc,
    FineTunedModelDoc,
    ForceCalibrationDoc,
    LabelDoc,
    PosteriorDoc,
    RunState,
    StressCalibrationDoc,
    to_atoms,
)
from onfly.settings import OnflySettings, get_settings

__all__ = [
    "OpenRun",
    "Session",
    "calibration_docs",
    "calibrations_of",
    "drift_in_prior_stds",
    "likelihood_scales",
]

logger = logging.getLogger(__name__)


def likelihood_scales(doc: PosteriorDoc | FineTunedModelDoc) -> LikelihoodScales:
    """Return σ_E and the base of σ_F of a run or model.

    A run that goes on from a model keeps the σ_E that the model's calibration refers to, whatever
    its own threshold is.
    """
    return LikelihoodScales.for_threshold(doc.threshold_ev, doc.energy_std)


class Session:
    """One process at work.

    Parameters
    ----------
    settings
        Of the machine; None reads them.
    """

    def __init__(self, settings: OnflySettings | None = None) -> None:
        self.settings = settings or get_settings()
        self.labels = LabelStore(self.settings.ARTIFACT_DIR / "labels")

    def workspace(self, run_id: str) -> RunWorkspace:
        """Return the folder of a run."""
        return RunWorkspace(self.settings.ARTIFACT_DIR, run_id)

    def potential(self, foundation: Any, elements: tuple[str, ...]) -> Potential:
        """Return a foundation potential, loaded once per process."""
        return shared_potential(foundation, elements, self.settings.DEVICE)

    def open(self, posterior: PosteriorDoc) -> OpenRun:
        """Return the objects that work on a run."""
        return OpenRun(self, posterior)


class OpenRun:
    """A run's documents as objects; nothing in it changes the documents.

    Parameters
    ----------
    session
        Of the process.
    posterior
        The document.
    """

    def __init__(self, session: Session, posterior: PosteriorDoc) -> None:
        self.session = session
        self.doc = posterior
        self.spec = posterior.spec
        self.workspace = session.workspace(posterior.run_id)
        self.elements = tuple(sorted({str(e) for e in posterior.elements or []}))
        self.scales = likelihood_scales(posterior)

    @property
    def device(self) -> str:
        """Torch device."""
        return self.session.settings.DEVICE

    @property
    def potential(self) -> Potential:
        """The foundation potential."""
        return self.session.potential(self.spec.foundation, self.elements)

    @property
    def key(self) -> tuple[str | int, ...]:
        """Names the random streams: the run's seed and compound, not its random identifier."""
        return ("onfly", self.spec.seed, self.doc.formula_pretty or "", self.doc.nsites or 0)

    def trajectory_key(self, index: int) -> tuple[str | int, ...]:
        """Names the random streams of a trajectory."""
        return self.key if index == 0 else (*self.key, "trajectory", index)

    @property
    def posterior(self) -> Posterior:
        """The posterior whose ensemble the run holds."""
        if self.doc.ensemble is None:
            raise ValueError(f"run {self.doc.run_id} has no ensemble yet")
        return posterior_from_dict(
            {"kind": self.doc.ensemble.posterior, **self.doc.ensemble.settings}
        )

    @property
    def offset(self) -> float:
        """E_foundation - E_DFT of the first label in eV; 0 before it."""
        return self.doc.energy_offset or 0.0

    def calibrations(self) -> Calibrations:
        """Return the calibrations of the run."""
        return calibrations_of(self.doc)

    def ledger(self) -> Ledger:
        """Read the ledger."""
        return self.workspace.read_ledger(self.doc.n_records)

    def labels(self, ledger: Ledger | None = None) -> list[LabelDoc]:
        """Read the labels of all entries of the ledger that have one, in its order."""
        entries = (ledger or self.ledger()).entries
        return [self.session.labels.get(e.label) for e in entries if e.label is not None]

    def labels_in_context(self) -> list[LabelDoc]:
        """Read the labels with what the ledger knows of them: reason, step, predictions."""
        found = []
        for entry in self.ledger().entries:
            if entry.label is None:
                continue
            label = self.session.labels.get(entry.label)
            foundation = entry.foundation_error
            context = {
                "run_id": self.doc.run_id,
                "index": entry.index,
                "reason": entry.reason,
                "trajectory": entry.trajectory,
                "md_step": entry.step,
                "predicted_energy": entry.mean,
                "predicted_std": entry.std,
                "probability": entry.probability,
                "force_rmse": entry.force_rmse,
                "foundation_energy": None if foundation is None else label.energy + foundation,
                "foundation_force_rmse": entry.foundation_force_rmse,
            }
            found.append(label.model_copy(update=context))
        return found

    def predictor(self, member: int | None = None, monitor_interval: int = 1) -> Predictor:
        """Load the ensemble; with a member, that one is the force field (see `MemberPredictor`)."""
        doc = self.doc.ensemble
        if doc is None:
            raise ValueError(f"run {self.doc.run_id} has no ensemble yet")
        state = self.workspace.load_ensemble(doc, self.device)
        strategy: Any = doc.strategy
        parts = (self.potential, self.posterior, state, self.scales)
        if member is None:
            return Predictor(*parts, strategy, self._near_labels(state))
        return MemberPredictor(*parts, strategy, member=member, interval=monitor_interval)

    def _near_labels(self, state: PosteriorState) -> NearLabels | None:
        """Return what the labels say of energies close to them, if the posterior says it."""
        errors = self.posterior.label_errors(state)
        if errors is None:
            return None
        left, force_error = errors
        known = self.labels()[: len(left)]
        return NearLabels([to_atoms(label.structure) for label in known], left, force_error)

    def target_factory(self, labels: Sequence[LabelDoc]) -> partial:
        """Return a picklable function that builds the target of labels in any process."""
        return partial(
            potential_target,
            self.spec.foundation,
            [to_atoms(label.structure) for label in labels],
            [label.energy + self.offset for label in labels],
            [np.array(label.forces) for label in labels],
            [None if label.stress is None else np.array(label.stress) for label in labels],
            self.scales,
            elements=self.elements,
            device=self.device,
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


def calibrations_of(doc: PosteriorDoc | FineTunedModelDoc) -> Calibrations:
    """Return the calibrations of a run or a model."""
    return Calibrations(
        Calibration(**doc.calibration.model_dump()),
        ForceCalibration(**doc.force_calibration.model_dump()),
        StressCalibration(**doc.stress_calibration.model_dump()),
    )


def calibration_docs(calibrations: Calibrations) -> dict[str, Any]:
    """Return the fields of a `PosteriorDoc` that hold its calibrations."""
    energy, forces = calibrations.energy, calibrations.forces
    return {
        "calibration": CalibrationDoc(
            **{k: getattr(energy, k) for k in CalibrationDoc.model_fields}
        ),
        "force_calibration": ForceCalibrationDoc(**forces.to_dict()),
        "stress_calibration": StressCalibrationDoc(**calibrations.stress.to_dict()),
    }


def keep_files(state: RunState) -> list[Any]:
    """Return the references to files that a run still needs."""
    kept: list[Any] = [state.posterior.ensemble, state.posterior.refit]
    for trajectory in state.trajectories:
        kept.append(trajectory.md_state)
        places = [trajectory.round_start, *(request.place for request in trajectory.requests)]
        kept += [place.md_state for place in places if place is not None]
        kept += [request.structure for request in trajectory.requests]
        supplied = [trajectory.supplied, *(p.supplied for p in places if p is not None)]
        kept += [ref.structure for ref in supplied if ref is not None]
    return kept
