"""On-the-fly fine-tuning of one compound."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jobflow import Flow, Job, Maker
from pymatgen.core import Molecule, Structure

from onfly.jobs.initial import DEFAULT_POSTERIOR, InitialEnsembleMaker
from onfly.jobs.labelling import first_label_job
from onfly.jobs.publish import PublishMaker
from onfly.jobs.resident import ResidentMaker
from onfly.jobs.segment import SegmentMaker
from onfly.labels.maker import maker_for_run
from onfly.labels.vasp import VaspLabelMaker
from onfly.schemas import CalibrationDoc, RunDoc, from_any_structure
from onfly.units import energy_to_ev

__all__ = ["OnTheFlyMaker"]


@dataclass
class OnTheFlyMaker(Maker):
    """Fine-tune a foundation potential for one compound during MD.

    The first label sets the energy offset; then MD runs on the ensemble mean, and whenever the
    calibrated probability of an energy error above `threshold` exceeds 5 %, the configuration is
    labelled, the ensemble learns from it, and the step is taken with the label's forces
    (Rensmeyer, Kramer, Niggemann, Digital Discovery 2026).

    Parameters
    ----------
    name
        Name of the flow.
    foundation_model
        Name or file; see `onfly.potentials.load_foundation`.
    threshold, threshold_unit
        Largest energy error, in ``"eV"``, ``"meV"``, ``"kcal/mol"`` or ``"kJ/mol"``.
    threshold_per_atom
        Whether the threshold is per atom; otherwise it is that of the whole cell.
    mode
        ``"chained"``: each step is a job (labels on CPU nodes, ensemble on GPU nodes).
        ``"resident"``: one job does all, with the labeller in process. Both give the same numbers.
    label_maker
        Any atomate2 maker whose output has energy, forces and stress.
    initial_maker, segment_maker, publish_maker
        The other jobs. The MD settings are fields of `segment_maker`, the posterior is a field of
        `initial_maker`.
    energy_key
        ``"e_fr_energy"`` (forces are its derivative) or ``"e_0_energy"``.
    max_force
        eV/Å; labels with larger forces are refused.
    max_failures
        Failed labels and explosions before the run stops.
    level_of_theory
        Free text by which models are found, such as ``"PBE+U"``; empty takes the labeller's name.
    campaign
        Name of the campaign that the run belongs to.
    seed
        Of all random streams of the run.
    """

    name: str = "on-the-fly fine-tuning"
    foundation_model: str = "chgnet-0.3.0"
    threshold: float = 0.05
    threshold_unit: str = "eV"
    threshold_per_atom: bool = False
    mode: Literal["chained", "resident"] = "chained"
    label_maker: Maker = field(default_factory=VaspLabelMaker)
    initial_maker: InitialEnsembleMaker = field(default_factory=InitialEnsembleMaker)
    segment_maker: SegmentMaker = field(default_factory=SegmentMaker)
    publish_maker: PublishMaker = field(default_factory=PublishMaker)
    energy_key: str = "e_fr_energy"
    max_force: float = 50.0
    max_failures: int = 3
    level_of_theory: str | None = None
    campaign: str | None = None
    seed: int = 0

    def make(
        self,
        structure: Structure | Molecule,
        prev_dir: str | Path | None = None,
        run_id: str | None = None,
    ) -> Flow:
        """Return the flow of one compound.

        Parameters
        ----------
        structure
            Where the MD starts.
        prev_dir
            Directory that the first label may start from.
        run_id
            Identifier of the run; None makes a new one. The flow of a resident run that was
            interrupted goes on if it is made again with the same identifier.

        Returns
        -------
        Flow
            Its output is the `FineTunedModelDoc`.

        Raises
        ------
        ValueError
            If threshold, stages or posterior are impossible.
        """
        run = self.new_run(structure, run_id)
        labeller = maker_for_run(self.label_maker, structure)
        segment_maker = replace(self.segment_maker, label_maker=labeller)
        initial_maker = self._initial_maker()
        jobs: list[Job | Flow] = []
        if self.mode == "resident":
            resident = ResidentMaker(initial_maker=initial_maker, segment_maker=segment_maker)
            job = resident.make(run, structure, None if prev_dir is None else str(prev_dir))
            jobs.append(job)
            final = job.output
        else:
            label = first_label_job(
                labeller,
                run,
                structure,
                None if prev_dir is None else str(prev_dir),
                reuse=segment_maker.reuse_labels,
            )
            initial = initial_maker.make(run, structure, label.output)
            segment = segment_maker.make(initial.output)
            jobs += [label, initial, segment]
            final = segment.output
        publish = self._publish_job(final, structure)
        jobs.append(publish)
        flow = Flow(jobs, output=publish.output, name=f"{self.name} {run.formula_pretty}")
        flow.update_metadata({"onfly": {"run_id": run.run_id, "campaign": self.campaign}})
        return flow

    def resume(self, run: RunDoc, structure: Structure | Molecule) -> Flow:
        """Return the flow that takes up an interrupted chained run at its last written state.

        Labels, updates and MD that are done are not done again.
        """
        labeller = maker_for_run(self.label_maker, structure)
        segment_maker = replace(self.segment_maker, label_maker=labeller)
        segment = segment_maker.make(run, None, resumed=True)
        publish = self._publish_job(segment.output, structure)
        flow = Flow(
            [segment, publish], output=publish.output, name=f"{self.name} {run.formula_pretty}"
        )
        flow.update_metadata({"onfly": {"run_id": run.run_id, "campaign": run.campaign}})
        return flow

    def _initial_maker(self) -> InitialEnsembleMaker:
        maker = self.initial_maker
        stages = self.segment_maker.resolved_stages
        if maker.temperature is None and stages[0].temperature is not None:
            maker = replace(maker, temperature=stages[0].temperature_at(0))
        return maker

    def _publish_job(self, run: Any, structure: Structure | Molecule) -> Job:
        maker = self.segment_maker
        return self.publish_maker.make(
            run, structure, maker.resolved_stages, maker.time_step, maker.stopping
        )

    def new_run(self, structure: Structure | Molecule, run_id: str | None = None) -> RunDoc:
        """Return the document of a run that has not begun."""
        threshold = energy_to_ev(self.threshold, self.threshold_unit)
        if self.threshold_per_atom:
            threshold *= len(structure)
        if not threshold > 0:
            raise ValueError(f"threshold {self.threshold} {self.threshold_unit} is not positive")
        segment, calibration = self.segment_maker, self.segment_maker.calibration_maker
        stages = segment.resolved_stages
        if any(s.ensemble == "npt" for s in stages) and isinstance(structure, Molecule):
            raise ValueError("an npt stage needs a periodic structure, not a molecule")
        # as the name of a folder: Ca(NO3)2 becomes Ca-NO3-2
        formula = re.sub(r"[^A-Za-z0-9.]+", "-", structure.composition.reduced_formula).strip("-")
        chosen = calibration.shape is not None and calibration.rate is not None
        return from_any_structure(
            RunDoc,
            structure,
            run_id=run_id or f"{formula}-{uuid.uuid4().hex[:8]}",
            campaign=self.campaign,
            foundation_model=str(self.foundation_model),
            labeller="",
            threshold_ev=threshold,
            seed=self.seed,
            energy_key=self.energy_key,
            max_force=self.max_force,
            max_failures=self.max_failures,
            n_steps_total=sum(stage.n_steps for stage in stages),
            calibration=CalibrationDoc(
                shape=1.5 if calibration.shape is None else calibration.shape,
                rate=10.0 if calibration.rate is None else calibration.rate,
                mode=calibration.mode,
                decay=calibration.decay if calibration.mode == "ema" else 1.0,
                surprise=calibration.surprise,
            ),
            settings={
                "calibration": "given" if chosen else None,
                "level_of_theory": self.level_of_theory,
                "stages": [stage.as_dict() for stage in stages],
                "posterior": self.initial_maker.posterior or dict(DEFAULT_POSTERIOR),
                "strategy": self.initial_maker.strategy,
                "max_probability": segment.max_probability,
                "audit_interval": segment.audit_interval,
                "warmup_labels": segment.warmup_labels,
                "warmup_interval": segment.warmup_interval,
                "stopping": segment.stopping.as_dict(),
                "audit_update_fraction": calibration.audit_update_fraction,
                "label_maker": self.label_maker.name,
                "reuse_labels": segment.reuse_labels,
                "seed_from": list(self.initial_maker.seed_from),
                "threshold": f"{self.threshold:g} {self.threshold_unit}"
                + (" per atom" if self.threshold_per_atom else ""),
                "mode": self.mode,
            },
        )
