"""Production MD with a fine-tuned model, watched all along."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobflow import Flow, Job, Maker
from pymatgen.core import Molecule, Structure

from onfly.jobs.production import ProductionRunMaker
from onfly.jobs.production_start import ModelSource
from onfly.jobs.resident import ResidentMaker
from onfly.jobs.rounds import RoundMaker
from onfly.jobs.update import UpdateMaker
from onfly.spec import MDStage

__all__ = ["ProductionMaker"]


@dataclass
class ProductionMaker(Maker):
    """MD with the frozen ensemble of a fine-tuned model, in independent runs.

    The calibrated probability of an error above any of the model's tolerances (energy, forces,
    stress) is evaluated along the way, and what happens when it exceeds 5 % is a choice: there is
    no silent excursion.

    Parameters
    ----------
    name
        Name of the flow.
    equilibration
        Stages before the production; they are run and recorded, and marked in the document.
    stages
        Stages of the production, such as ``[MDStage(20000, temperature=None, ensemble="nve")]``.
    n_runs
        Independent runs: each with its own velocities and random streams.
    predictor
        ``"mean"``: forces are the mean over all members. ``"member"``: one member is the force
        field, at the cost of one model, and the ensemble watches it. A single member is a model of
        its own, with an energy that its forces derive from exactly as for the mean.
    member
        Which one; None gives run i the member i (there must be as many), so that the scatter
        between runs contains the uncertainty of the model.
    monitor_interval
        For ``"member"``: MD steps between evaluations of the whole ensemble.
    on_uncertain
        ``"stop"``: the run ends before the uncertain step, and the configuration is kept.
        ``"warn"``: it goes on, and each excursion is logged and recorded. ``"label"``: the
        configuration is labelled and the ensemble learns from it, as in fine-tuning.
    threshold
        eV, for the whole cell; None takes the model's tolerances of energies, which must be given
        anew for another number of atoms. Those of forces and stress are always the model's.
    max_probability
        See above.
    time_step
        fs, for stages without one; None is 0.5 fs with hydrogen and 2 fs without.
    max_temperature, min_distance
        Guards, which end the run (with ``"label"``, first ask for a label); see
        `onfly.dynamics.guards.Guards`.
    traj_interval, checkpoint_interval
        MD steps between frames of the trajectory, and between checkpoints.
    allow_mismatch
        Run also where the model does not fit (other formula or temperature).
    label_maker
        For ``"label"``: the labeller of the model, with the same settings.
    mode
        For ``"label"``: ``"resident"`` or ``"chained"``, as in `OnTheFlyMaker`.
    audit_interval
        For ``"label"``: mean number of steps between random labels; 0 for none.
    n_workers
        For ``"label"``: processes of an update.
    max_failures
        For ``"label"``: failed labels and explosions before a run stops.
    seed
        Of the random streams of all runs.

    Raises
    ------
    ValueError
        By `make`: no model is named or several are, or the settings contradict each other.

    Examples
    --------
    1 ps of equilibration at 600 K, then 10 ps at constant energy, twice:

    >>> maker = ProductionMaker(
    ...     equilibration=[MDStage(500, temperature=600.0)],
    ...     stages=[MDStage(5000, temperature=None, ensemble="nve")],
    ...     time_step=2.0,
    ...     n_runs=2,
    ... )
    >>> flow = maker.make(model_id="CuAu-f716e6da3f4e", production_id="diffusion")
    >>> len(flow.jobs)
    2
    """

    name: str = "production"
    equilibration: list[MDStage] = field(default_factory=list)
    stages: list[MDStage] = field(default_factory=list)
    n_runs: int = 1
    predictor: Literal["mean", "member"] = "mean"
    member: int | None = None
    monitor_interval: int = 10
    on_uncertain: Literal["stop", "warn", "label"] = "stop"
    threshold: float | None = None
    max_probability: float = 0.05
    time_step: float | None = None
    max_temperature: float | None = None
    min_distance: float = 0.5
    traj_interval: int = 10
    checkpoint_interval: int = 1000
    allow_mismatch: bool = False
    label_maker: Maker | None = None
    mode: Literal["chained", "resident"] = "chained"
    audit_interval: int = 0
    n_workers: int | None = None
    max_failures: int = 3
    seed: int = 0

    def make(
        self,
        structure: Structure | Molecule | None = None,
        prev_dir: str | Path | None = None,
        *,
        model_id: Any = None,
        run_id: str | None = None,
        path: str | Path | None = None,
        production_id: str | None = None,
    ) -> Flow:
        """Return the flow of all runs.

        Parameters
        ----------
        structure
            Where each run starts; None takes the structure that the fine-tuning started from.
        prev_dir
            Unused; as other makers take it.
        model_id
            A model of the library, or a reference to one that an earlier job publishes, such as
            ``flow.output.model_id``.
        run_id
            Instead: a run in the artifact directory.
        path
            Instead: the folder of a run or of an exported model.
        production_id
            Name of the runs' folders (a number is added); None makes a new one. The flow of runs
            that were killed goes on if it is made again with the same name.

        Returns
        -------
        Flow
            Its output is the list of the `ProductionDoc` of the runs.

        Raises
        ------
        ValueError
            If the settings are impossible, or not exactly one model is named.
        """
        self._check()
        # a reference to a model that does not exist yet is given to the jobs, not to the makers
        reference = None if model_id is None or isinstance(model_id, str) else model_id
        source = ModelSource(
            "" if reference is not None else model_id,
            run_id,
            None if path is None else str(Path(path).expanduser().absolute()),
        )
        given = {k: v for k, v in vars(source).items() if v}
        name = production_id or f"production-{uuid.uuid4().hex[:8]}"
        jobs: list[Job | Flow] = []
        outputs = []
        for index in range(self.n_runs):
            new, output = self._run(index, given, structure, f"{name}-{index}", reference)
            jobs += new
            outputs.append(output)
        flow = Flow(jobs, output=outputs, name=self.name)
        flow.update_metadata({"onfly": {"production_id": name}})
        return flow

    def _run(
        self,
        index: int,
        source: dict[str, str],
        structure: Structure | Molecule | None,
        production_id: str,
        reference: Any,
    ) -> tuple[list[Job | Flow], Any]:
        maker = ProductionRunMaker(
            name=f"{self.name} {index}",
            source=source,
            index=index,
            stages=[*self.equilibration, *self.stages],
            n_equilibration_steps=sum(stage.n_steps for stage in self.equilibration),
            threshold=self.threshold,
            max_probability=self.max_probability,
            time_step=self.time_step,
            seed=self.seed,
            on_uncertain=self.on_uncertain,
            member=None
            if self.predictor == "mean"
            else (index if self.member is None else self.member),
            monitor_interval=self.monitor_interval,
            max_temperature=self.max_temperature,
            min_distance=self.min_distance,
            traj_interval=self.traj_interval,
            checkpoint_interval=self.checkpoint_interval,
            audit_interval=self.audit_interval,
            allow_mismatch=self.allow_mismatch,
            max_failures=self.max_failures,
        )
        if self.on_uncertain != "label":
            job = maker.make(structure, production_id, reference)
            return [job], job.output
        start = maker.start(structure, production_id, reference)
        start.name = f"{self.name} start {index}"
        if self.label_maker is None:
            raise ValueError("on_uncertain='label' needs a label_maker")
        if self.mode == "resident":
            loop = ResidentMaker(label_maker=self.label_maker).make(start.output, [])
        else:
            rounds = RoundMaker(
                name=f"{self.name} round",
                label_maker=self.label_maker,
                update_maker=UpdateMaker(n_workers=self.n_workers),
            )
            loop = rounds.make(start.output)
        collect = maker.collect(loop.output, structure)
        collect.name = f"{self.name} {index}"
        return [start, loop, collect], collect.output

    def _check(self) -> None:
        if not self.stages:
            raise ValueError("a production run needs at least one stage in `stages`")
        if self.n_runs < 1:
            raise ValueError(f"n_runs is {self.n_runs}: give at least 1")
        if self.predictor not in ("mean", "member"):
            raise ValueError(f"predictor {self.predictor!r} is neither 'mean' nor 'member'")
        if self.on_uncertain not in ("stop", "warn", "label"):
            raise ValueError(f"on_uncertain {self.on_uncertain!r} is not stop, warn or label")
        if self.on_uncertain != "label":
            return
        if self.label_maker is None:
            raise ValueError("on_uncertain='label' needs a label_maker")
        if self.predictor == "member":
            raise ValueError(
                "labels are asked for where the mean is uncertain: with on_uncertain='label' use "
                "predictor='mean'"
            )
