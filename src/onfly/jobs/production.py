"""Jobs of a production run: MD on the frozen ensemble, and the document of what came of it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.io
from jobflow import Maker, Response
from pymatgen.core import Molecule, Structure

from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.trajectory import watched_steps
from onfly.artifacts.workspace import RunWorkspace
from onfly.dynamics.state import MDState
from onfly.jobs.base import otf_job
from onfly.jobs.production_start import ModelSource, start_production
from onfly.jobs.publish import PublishMaker
from onfly.jobs.routing import route_like_current
from onfly.rounds.explore import ExploreOptions, explore
from onfly.schemas import RequestDoc, RunState, from_any_structure, to_structure
from onfly.schemas.production import Excursion, ProductionDoc
from onfly.seeds import derive_seed
from onfly.session import Session
from onfly.spec import MDStage, Tolerance
from onfly.spec.quantities import format_quantity

__all__ = ["ProductionRunMaker", "find_excursions"]

logger = logging.getLogger(__name__)

MAX_EXCURSIONS = 1000


@dataclass
class ProductionRunMaker(Maker):
    """One production run.

    Parameters
    ----------
    name
        Name of the job.
    source
        The model, as the fields of `ModelSource`.
    index
        Number of the run.
    stages
        Equilibration and production, in order.
    n_equilibration_steps
        Steps of the first of these that count as equilibration.
    threshold, max_probability, time_step, seed, guards, allow_mismatch, max_failures
        See `onfly.flows.ProductionMaker`.
    on_uncertain
        ``"stop"``, ``"warn"`` or ``"label"``.
    member, monitor_interval
        The member that is the force field, or None for the mean.
    traj_interval, checkpoint_interval, audit_interval
        See `onfly.flows.ProductionMaker`.
    """

    name: str = "production"
    source: dict[str, str] = field(default_factory=dict)
    index: int = 0
    stages: list[MDStage] = field(default_factory=list)
    n_equilibration_steps: int = 0
    threshold: float | None = None
    max_probability: float = 0.05
    time_step: float | None = None
    seed: int = 0
    on_uncertain: str = "stop"
    member: int | None = None
    monitor_interval: int = 1
    max_temperature: float | None = None
    min_distance: float = 0.5
    traj_interval: int = 10
    checkpoint_interval: int = 1000
    audit_interval: int = 0
    allow_mismatch: bool = False
    max_failures: int = 3

    @property
    def options(self) -> ExploreOptions:
        """How the MD differs from that of the loop."""
        return ExploreOptions(
            watch_only=self.on_uncertain == "warn",
            member=self.member,
            monitor_interval=self.monitor_interval,
        )

    def begin(
        self, session: Session, structure: Structure | Molecule | None, production_id: str
    ) -> RunState:
        """Return the state at step 0; see `start_production`."""
        return start_production(
            session,
            ModelSource(**self.source),
            structure,
            production_id=production_id,
            index=self.index,
            member=self.member,
            allow_mismatch=self.allow_mismatch,
            with_labels=self.on_uncertain == "label",
            threshold=self.threshold,
            max_probability=self.max_probability,
            settings=self.settings,
            # not the streams of the run that made the model, nor of another production run
            seed=derive_seed("production", self.seed, self.index),
        )

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Settings that replace those of the model's run, by group."""
        return {
            "trajectories": {
                "stages": tuple(self.stages),
                "walkers": 1,
                "time_step": self.time_step,
                "traj_interval": self.traj_interval,
                "checkpoint_interval": self.checkpoint_interval,
            },
            "rounds": {"audit_interval": self.audit_interval, "warmup_labels": 0, "length": None},
            "guards": {
                "max_temperature": self.max_temperature,
                "min_distance": self.min_distance,
            },
            "stopping": {
                "max_failures": self.max_failures,
                "quiet_steps": None,
                "max_labels": None,
            },
            "proof": {"attempts": 0},
            "labels": {"seed_from": ()},
        }

    @otf_job(role="gpu", output_schema=ProductionDoc)
    def make(
        self,
        structure: Structure | Molecule | None,
        production_id: str,
        model_id: str | None = None,
    ) -> Response:
        """Run all stages without labels; a run that was killed goes on at its last checkpoint.

        Parameters
        ----------
        structure
            Where it starts; None takes the model's.
        production_id
            Name of the folder.
        model_id
            Of the model, if a job before this one publishes it.
        """
        self._take_model(model_id)
        session = Session()
        workspace = session.workspace(production_id)
        with workspace.lock():
            path = workspace.folder / "production.json"
            if path.is_file():
                return Response(output=ProductionDoc.model_validate_json(path.read_text()))
            if workspace.exists():
                state = workspace.read_state()
            else:
                state = self.begin(session, structure, production_id)
            while True:
                workspace.write_state(state)
                (trajectory,) = state.trajectories
                if trajectory.done or trajectory.requests or trajectory.n_explosions:
                    return Response(output=self.describe(session, state))
                trajectory = explore(session, state.posterior, trajectory, self.options)
                state = state.with_trajectories([trajectory]).evolve()

    @otf_job(role="gpu")
    def start(
        self,
        structure: Structure | Molecule | None,
        production_id: str,
        model_id: str | None = None,
    ) -> RunState:
        """Return the state from which the on-the-fly loop goes on, with the model's labels."""
        self._take_model(model_id)
        session = Session()
        workspace = session.workspace(production_id)
        if workspace.exists():
            return workspace.read_state()
        state = self.begin(session, structure, production_id)
        workspace.write_state(state)
        return state

    @otf_job(output_schema=ProductionDoc)
    def collect(self, state: RunState, structure: Structure | Molecule | None) -> Response:
        """Return the document of a run with labels, and publish its ensemble if it learned any."""
        session = Session()
        doc = self.describe(session, state)
        if doc.n_labels_added == 0:
            done = state.evolve(phase="done", model_id=doc.model_id)
            session.workspace(state.run_id).write_state(done)
            return Response(output=doc)
        start = structure if structure is not None else doc.final_structure
        publish = PublishMaker().make(state, start)
        route_like_current([publish])
        return Response(output=doc, addition=publish)

    def _take_model(self, model_id: str | None) -> None:
        if model_id is not None:
            self.source = {"model_id": model_id}

    def describe(self, session: Session, state: RunState) -> ProductionDoc:
        """Read what the run left in its folder, and write its document there."""
        posterior, (trajectory,) = state.posterior, state.trajectories
        run = session.open(posterior)
        workspace, root = run.workspace, run.workspace.store.root
        folder = workspace.trajectory(trajectory.index)
        last = MDState.from_arrays(workspace.load_md_state(trajectory.md_state))
        final = to_structure(last.to_atoms())
        n_watched, excursions, n_uncertain = find_excursions(
            folder.thermo_files(), self.max_probability
        )
        stopped, reason = self._ending(state)
        source = posterior.production
        if source is None:
            raise ValueError(f"run {state.run_id} is no production run")
        request = next((r for r in trajectory.requests if r.is_call), None)
        if request is not None:
            _write_configuration(workspace, request)
        doc = from_any_structure(
            ProductionDoc,
            final,
            production_id=state.run_id,
            index=self.index,
            model_id=source.model_id,
            source_run_id=source.source_run_id,
            state="stopped" if stopped else "finished",
            stop_reason=reason,
            predictor="mean" if self.member is None else "member",
            member=self.member,
            monitor_interval=1 if self.member is None else self.monitor_interval,
            on_uncertain=self.on_uncertain,
            threshold_ev=posterior.threshold_ev,
            tolerances=[t.model_dump(mode="json") for t in posterior.spec.tolerance],
            max_probability=self.max_probability,
            seed=self.seed,
            stages=[stage.model_dump(mode="json") for stage in self.stages],
            n_equilibration_steps=self.n_equilibration_steps,
            n_steps=trajectory.md_step,
            simulated_time_fs=trajectory.time_fs,
            folder=str(workspace.folder.relative_to(root)),
            trajectory_files=[str(p.relative_to(root)) for p in folder.trajectory_files()],
            thermo_files=[str(p.relative_to(root)) for p in folder.thermo_files()],
            stopped_at=None if request is None else request.structure,
            final_structure=final,
            n_watched=n_watched,
            n_uncertain=n_uncertain,
            n_excursions=len(excursions),
            excursions=excursions[:MAX_EXCURSIONS],
            n_labels_added=posterior.n_labels - source.n_model_labels,
            cpu_seconds=state.cpu_seconds,
        )
        atomic_write(workspace.folder / "production.json", doc.model_dump_json(indent=1).encode())
        if n_uncertain:
            logger.warning(
                "production run %s: %d of %d steps are beyond the probability of %g",
                state.run_id, n_uncertain, n_watched, self.max_probability,
            )  # fmt: skip
        return doc

    def _ending(self, state: RunState) -> tuple[bool, str]:
        (trajectory,) = state.trajectories
        request = next((r for r in trajectory.requests if r.is_call), None)
        if request is None:
            if trajectory.done:
                return False, state.posterior.stop_reason or "all stages are done"
            reason = state.failures[-1] if state.failures else "unknown"
            return True, state.posterior.stop_reason or reason
        if request.reason == "guard":
            return True, f"step {request.md_step}: {request.detail}"
        limit = next(
            (t for t in state.posterior.spec.tolerance if t.name == request.quantity), None
        )
        what = f"criterion {request.quantity}" if limit is None else _short(limit)
        return True, (
            f"step {request.md_step}: P(error > {what}) = {request.probability:.3f} is above "
            f"{self.max_probability:g}"
        )


def _short(tolerance: Tolerance) -> str:
    value = format_quantity(float(f"{tolerance.value:.3g}"), tolerance.quantity)
    return f"{value}, {tolerance.name}"


def _write_configuration(workspace: RunWorkspace, request: RequestDoc) -> None:
    """Write the configuration at which the run stopped where a viewer can read it."""
    asked = MDState.from_arrays(workspace.load_md_state(request.structure))
    ase.io.write(workspace.folder / "stopped_at.extxyz", asked.to_atoms(), format="extxyz")


def find_excursions(
    thermo_files: list[Path], max_probability: float
) -> tuple[int, list[Excursion], int]:
    """Find the stretches of a log at which the probability was exceeded.

    Watched steps that follow each other in the log make one excursion, also if steps in between
    were not watched.

    Returns
    -------
    n_watched : int
        Steps with a probability.
    excursions : list of Excursion
    n_uncertain : int
        Watched steps beyond the probability.
    """
    n_watched = n_uncertain = 0
    found: list[Excursion] = []
    inside = False
    for step, probability, std in watched_steps(thermo_files):
        n_watched += 1
        beyond = not probability <= max_probability
        n_uncertain += beyond
        if beyond:
            _extend(found, inside, step, probability, std)
        inside = beyond
    return n_watched, found, n_uncertain


def _extend(
    found: list[Excursion], inside: bool, step: int, probability: float, std: float
) -> None:
    probability = 1.0 if math.isnan(probability) else probability
    if not inside:
        found.append(
            Excursion(
                first_step=step, last_step=step, max_probability=probability, max_energy_std=std
            )
        )
        return
    last: Any = found[-1]
    found[-1] = Excursion(
        first_step=last.first_step,
        last_step=step,
        max_probability=max(last.max_probability, probability),
        max_energy_std=max(last.max_energy_std, std),
    )
