"""What a run will cost, told before anything is labelled."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core import Molecule, Structure

from onfly.dynamics.schedules import AuditSchedule
from onfly.potentials.execution import one_thread
from onfly.rounds.close import closing_length, proof_rule
from onfly.rounds.decisions import decision_rule
from onfly.rounds.judge import requested_structure
from onfly.rounds.new import new_run
from onfly.rounds.start import start_run
from onfly.schemas import LabelDoc, RunState, from_any_structure, structure_hash, to_atoms
from onfly.seeds import numpy_stream
from onfly.session import Session
from onfly.spec import RunSpec
from onfly.spec.stages import total_steps

__all__ = ["Measured", "Plan", "measure", "plan_run"]

# MD steps that are timed
N_STEPS = 10


@dataclass(frozen=True)
class Plan:
    """What is known of the cost of a run.

    Calls of the criterion and audits between the closing blocks come on top: how many the
    compound needs shows only in the run.

    Parameters
    ----------
    initial_labels
        At the start, side by side.
    audits_expected
        Mean number of audits during the stages.
    proof_labels, proof_waits
        Of the proof, least and most.
    md_steps
        Of the stages, over all trajectories.
    closing_steps
        MD steps of the first closing block.
    max_labels
        Limit of the user.
    """

    initial_labels: int
    audits_expected: float
    proof_labels: tuple[int, int]
    proof_waits: tuple[int, int]
    md_steps: int
    closing_steps: int
    max_labels: int | None

    @property
    def labels_at_least(self) -> int:
        """Labels of a run that calls for none and passes at the first look, without audits."""
        return self.initial_labels + self.proof_labels[0]

    @property
    def waits_at_least(self) -> int:
        """Rounds of labels of that run."""
        return 1 + self.proof_waits[0]


def plan_run(spec: RunSpec, structure: Structure | Molecule) -> Plan:
    """Return what a run will cost.

    Examples
    --------
    >>> from pymatgen.core import Lattice
    >>> spec = RunSpec.from_flat({"threshold": 0.05, "stages": [{"n_steps": 1000}]})
    >>> plan = plan_run(spec, Structure(Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]]))
    >>> plan.md_steps, plan.waits_at_least
    (1000, 2)
    """
    state = new_run(spec, structure, run_id="plan")
    steps = total_steps(spec.trajectories.stages) * spec.trajectories.walkers
    rule = proof_rule(state)
    cost = None if rule is None else rule.cost()
    audits = AuditSchedule(spec.rounds.audit_interval, (), spec.rounds.audit_thinning)
    first = spec.trajectories.stages[0]
    if first.searches:  # labels of the end decide: of each relaxation, or of two ends and a saddle
        rule_at_end = decision_rule(state)
        each, most = rule_at_end.n_deciding, rule_at_end.decisions
        return Plan(
            initial_labels=2 if first.driver == "neb" else spec.rounds.initial_labels,
            audits_expected=0.0,
            proof_labels=(each, each * most) if spec.proof.attempts else (0, 0),
            proof_waits=(1, most) if spec.proof.attempts else (0, 0),
            md_steps=steps,
            closing_steps=0,
            max_labels=spec.stopping.max_labels,
        )
    return Plan(
        initial_labels=spec.rounds.initial_labels,
        audits_expected=float(
            spec.trajectories.walkers
            * sum(audits.count(stage.n_steps) for stage in spec.trajectories.stages)
        ),
        proof_labels=(0, 0) if cost is None else (cost.least_audits, cost.most_audits),
        proof_waits=(0, 0) if cost is None else (cost.least_waits, cost.most_waits),
        md_steps=steps,
        closing_steps=0 if rule is None else closing_length(state, rule.block_size(0)),
        max_labels=spec.stopping.max_labels,
    )


@dataclass(frozen=True)
class Measured:
    """Seconds on this machine.

    Parameters
    ----------
    update_seconds
        Of one update of the ensemble on the initial labels; more labels take longer.
    step_seconds
        Of one MD step on the mean of the ensemble.
    """

    update_seconds: float
    step_seconds: float


def measure(
    spec: RunSpec, structures: Sequence[Structure | Molecule], *, n_workers: int | None = None
) -> Measured:
    """Measure an update and an MD step with the foundation; nothing is labelled or kept.

    Energies and forces of the foundation, slightly disturbed, stand for the labels.
    """
    with tempfile.TemporaryDirectory(prefix="onfly-plan-") as folder:
        settings = Session().settings.model_copy(update={"ARTIFACT_DIR": Path(folder)})
        session = Session(settings)
        state = start_run(session, new_run(spec, structures[0], run_id="plan"), structures)
        run = session.open(state.posterior)
        doc = state.posterior.ensemble
        assert doc is not None
        labels = _stand_ins(session, state)
        begin = time.perf_counter()
        samples, _ = run.posterior.update(
            run.workspace.load_ensemble(doc, run.device),
            run.target_factory(labels),
            seed_key=run.key,
            generation=1,
            n_new=len(labels),
            n_workers=n_workers or spec.posterior.n_workers or settings.n_workers,
        )
        update = time.perf_counter() - begin
        kept = run.workspace.save_ensemble(samples, 1, len(labels), settings=doc.settings)
        kept = kept.model_copy(update={"posterior": doc.posterior, "strategy": doc.strategy})
        predictor = session.open(state.posterior.model_copy(update={"ensemble": kept})).predictor()
        atoms = to_atoms(labels[0].structure)
        stress = bool(atoms.pbc.all()) and run.potential.supports_stress
        with one_thread():
            predictor.predict(atoms, stress=stress)
            begin = time.perf_counter()
            for _ in range(N_STEPS):
                predictor.predict(atoms, stress=stress)
            step = (time.perf_counter() - begin) / N_STEPS
    return Measured(update, step)


def _stand_ins(session: Session, state: RunState) -> list[LabelDoc]:
    """Return labels by the foundation at the configurations that would be labelled."""
    run = session.open(state.posterior)
    found = []
    for request in state.due:
        structure = requested_structure(run, request)
        energy, forces = run.foundation_prediction(to_atoms(structure))
        rng = numpy_stream(*run.key, "plan", request.md_step)
        forces = forces + rng.normal(scale=0.1, size=np.shape(forces))
        found.append(
            from_any_structure(
                LabelDoc,
                structure,
                structure=structure,
                structure_hash=structure_hash(structure),
                energy=energy + rng.normal(scale=0.1),
                forces=forces.tolist(),
                labeller="foundation",
            )
        )
    return found
