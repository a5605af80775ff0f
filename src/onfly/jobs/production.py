"""Jobs of a production run: MD on the frozen ensemble, and the document of what came of it."""

from __future__ import annotations

import csv
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.io
from jobflow import Maker, Response
from pymatgen.core import Molecule, Structure

from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.workspace import RunWorkspace
from onfly.dynamics.criteria import Warmup
from onfly.dynamics.guards import Guards
from onfly.dynamics.stages import MDStage, default_time_step
from onfly.dynamics.state import MDState
from onfly.dynamics.stopping import StoppingRule
from onfly.jobs.base import otf_job
from onfly.jobs.context import evolve, open_run, to_structure
from onfly.jobs.production_start import ModelSource, start_production
from onfly.jobs.publish import PublishMaker
from onfly.jobs.segment_step import SegmentOptions, run_segment
from onfly.schemas import RunDoc, from_any_structure
from onfly.schemas.production import Excursion, ProductionDoc
from onfly.settings import get_settings

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
    traj_interval, checkpoint_interval
        See `SegmentMaker`.
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
    allow_mismatch: bool = False
    max_failures: int = 3

    @property
    def options(self) -> SegmentOptions:
        """How the MD runs when nothing is labelled."""
        return SegmentOptions(
            stages=self.stages,
            time_step=self.time_step,
            max_probability=self.max_probability,
            audit_interval=0,
            warmup=Warmup(0, 1),
            stopping=StoppingRule(),
            guards=Guards(max_temperature=self.max_temperature, min_distance=self.min_distance),
            traj_interval=self.traj_interval,
            checkpoint_interval=self.checkpoint_interval,
            watch_only=self.on_uncertain == "warn",
            member=self.member,
            monitor_interval=self.monitor_interval,
        )

    def begin(self, structure: Structure | Molecule | None, production_id: str) -> RunDoc:
        """Return the state at step 0; see `start_production`."""
        return start_production(
            ModelSource(**self.source),
            structure,
            production_id=production_id,
            index=self.index,
            seed=self.seed,
            stages=self.stages,
            threshold=self.threshold,
            member=self.member,
            allow_mismatch=self.allow_mismatch,
            with_labels=self.on_uncertain == "label",
            max_failures=self.max_failures,
        )

    @otf_job(output_schema=ProductionDoc)
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
        workspace = RunWorkspace(get_settings().ARTIFACT_DIR, production_id)
        with workspace.lock():
            path = workspace.folder / "production.json"
            if path.is_file():
                return Response(output=ProductionDoc.model_validate_json(path.read_text()))
            run = run_segment(self.begin(structure, production_id), self.options)
            return Response(output=self.describe(run))

    @otf_job
    def start(
        self,
        structure: Structure | Molecule | None,
        production_id: str,
        model_id: str | None = None,
    ) -> RunDoc:
        """Return the state from which the on-the-fly loop goes on, with the model's labels."""
        self._take_model(model_id)
        workspace = RunWorkspace(get_settings().ARTIFACT_DIR, production_id)
        if workspace.exists():
            return workspace.read_run()
        run = self.begin(structure, production_id)
        workspace.write_run(run)
        return run

    @otf_job(output_schema=ProductionDoc)
    def collect(self, run: RunDoc, structure: Structure | Molecule | None) -> Response:
        """Return the document of a run with labels, and publish its ensemble if it learned any."""
        doc = self.describe(run)
        if doc.n_labels_added == 0:
            done = evolve(run, phase="done", model_id=doc.model_id)
            open_run(run).workspace.write_run(done)
            return Response(output=doc)
        publish = PublishMaker().make(
            run,
            structure if structure is not None else doc.final_structure,
            self.stages,
            self.time_step,
            StoppingRule(),
        )
        return Response(output=doc, addition=publish)

    def _take_model(self, model_id: str | None) -> None:
        if model_id is not None:
            self.source = {"model_id": model_id}

    def describe(self, run: RunDoc) -> ProductionDoc:
        """Read what the run left in its folder, and write its document there."""
        context = open_run(run)
        workspace, root = context.workspace, context.workspace.store.root
        assert run.md_state is not None
        state = MDState.from_arrays(workspace.load_md_state(run.md_state))
        final = to_structure(state.to_atoms())
        n_watched, excursions, n_uncertain = find_excursions(
            workspace.thermo_files(), self.max_probability
        )
        stopped, reason = self._ending(run)
        origin = run.settings["production"]
        if run.pending is not None:
            _write_configuration(workspace, run)
        doc = from_any_structure(
            ProductionDoc,
            final,
            production_id=run.run_id,
            index=self.index,
            model_id=origin["model_id"],
            source_run_id=origin["source_run_id"],
            state="stopped" if stopped else "finished",
            stop_reason=reason,
            predictor="mean" if self.member is None else "member",
            member=self.member,
            monitor_interval=1 if self.member is None else self.monitor_interval,
            on_uncertain=self.on_uncertain,
            threshold_ev=run.threshold_ev,
            max_probability=self.max_probability,
            seed=self.seed,
            stages=[stage.model_dump() for stage in self.stages],
            n_equilibration_steps=self.n_equilibration_steps,
            n_steps=run.md_step,
            simulated_time_fs=self._time_fs(run.md_step, context.elements),
            folder=str(workspace.folder.relative_to(root)),
            trajectory_files=[str(p.relative_to(root)) for p in workspace.trajectory_files()],
            thermo_files=[str(p.relative_to(root)) for p in workspace.thermo_files()],
            stopped_at=None if run.pending is None else run.pending.structure,
            final_structure=final,
            n_watched=n_watched,
            n_uncertain=n_uncertain,
            n_excursions=len(excursions),
            excursions=excursions[:MAX_EXCURSIONS],
            n_labels_added=run.n_labels - origin["n_model_labels"],
            cpu_seconds=run.cpu_seconds,
        )
        atomic_write(workspace.folder / "production.json", doc.model_dump_json(indent=1).encode())
        if n_uncertain:
            logger.warning(
                "production run %s: %d of %d steps are beyond the probability of %g",
                run.run_id, n_uncertain, n_watched, self.max_probability,
            )  # fmt: skip
        return doc

    def _ending(self, run: RunDoc) -> tuple[bool, str]:
        pending = run.pending
        if pending is None:
            reason = run.stop_reason or "unknown"
            return run.md_step < run.n_steps_total, reason
        if pending.reason == "guard":
            return True, f"step {pending.md_step}: {pending.detail}"
        return True, (
            f"step {pending.md_step}: P(error > {1000 * run.threshold_ev:.3g} meV) = "
            f"{pending.probability:.3f} is above {self.max_probability:g}"
        )

    def _time_fs(self, n_steps: int, elements: tuple[str, ...]) -> float:
        total = 0.0
        for stage in self.stages:
            taken = min(n_steps, stage.n_steps)
            total += taken * (stage.time_step or self.time_step or default_time_step(elements))
            n_steps -= taken
        return total


def _write_configuration(workspace: RunWorkspace, run: RunDoc) -> None:
    """Write the configuration at which the run stopped where a viewer can read it."""
    assert run.pending is not None
    asked = MDState.from_arrays(workspace.load_md_state(run.pending.structure))
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
    for path in thermo_files:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if not row["probability"]:
                    continue
                n_watched += 1
                probability, std = float(row["probability"]), float(row["energy_std"])
                beyond = not probability <= max_probability
                n_uncertain += beyond
                if beyond:
                    _extend(found, inside, int(row["step"]), probability, std)
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
