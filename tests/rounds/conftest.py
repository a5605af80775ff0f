"""A session of its own, and runs of the toy potential that are moved phase by phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.rounds.judge import Answer
from onfly.rounds.new import new_run
from onfly.rounds.table import PHASES, Round
from onfly.schemas import LabelDoc, from_any_structure, structure_hash, to_atoms
from onfly.session import Session
from onfly.testing.models import toy_spec

# a proof of few audits: coverage 0.5 needs five
SMALL_PROOF: dict = {"coverage": 0.5, "attempts": 1, "steps": 10}
# σ_E is a tenth of the tolerance, so that its probability is never that small
ALWAYS_UNSURE: dict = {"threshold": 0.1, "max_probability": 1e-9}


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ONFLY_N_WORKERS", "1")
    monkeypatch.chdir(tmp_path)


def copper(seed=1):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.02, seed=seed)
    return AseAtomsAdaptor.get_structure(atoms)


def emt_label(structure, **fields):
    """Return what EMT says of a structure."""
    atoms = to_atoms(structure)
    atoms.calc = EMT()
    content = {
        "structure": structure,
        "structure_hash": structure_hash(structure),
        "energy": float(atoms.get_potential_energy()),
        "forces": atoms.get_forces().tolist(),
        "labeller": "emt",
        "input_hash": "h",
    }
    return from_any_structure(LabelDoc, structure, **content | fields)


@dataclass
class Loop:
    """A run, one phase after the other, with EMT as labeller; `wrong` changes what it says."""

    settings: dict
    structures: list = field(default_factory=lambda: [copper()])
    wrong: Callable | None = None
    run_id: str = "r"

    def __post_init__(self):
        self.session = Session()
        threshold = {} if "tolerance" in self.settings else {"threshold": 1e3}
        spec = toy_spec(
            **{
                "stages": [{"n_steps": 12, "temperature": 300.0, "time_step": 2.0}],
                "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 10},
                "audit_interval": 0,
                "warmup_labels": 0,
                "proof": SMALL_PROOF,
            }
            | threshold  # nothing is uncertain
            | self.settings
        )
        self.state = new_run(spec, self.structures[0], run_id=self.run_id)
        self.phases = []
        self.asked = []

    def answers(self, state):
        from onfly.rounds.judge import requested_structure

        run = self.session.open(state.posterior)
        found = []
        for request in state.due:
            self.asked.append(request)
            answer = Answer(emt_label(requested_structure(run, request)))
            found.append(answer if self.wrong is None else self.wrong(request, answer))
        return found

    def step(self):
        work = Round(self.session, self.structures, self.answers, 1)
        self.phases.append(self.state.phase)
        self.state = PHASES[self.state.phase](self.state, work)
        self.session.workspace(self.run_id).write_state(self.state)
        return self.state

    def until(self, *phases, limit=60):
        for _ in range(limit):
            if self.state.phase in phases:
                return self.state
            self.step()
        raise AssertionError(f"never in {phases}: {self.phases}")

    @property
    def ledger(self):
        return self.session.open(self.state.posterior).ledger()

    @property
    def trajectory(self):
        return self.state.trajectories[0]

    def verdict(self):
        from onfly.jobs.publish import publish_run

        self.until("publish")
        return publish_run(self.session, self.state, self.structures[0])[1]

    def md_state(self, trajectory=None):
        workspace = self.session.workspace(self.run_id)
        return workspace.load_md_state((trajectory or self.trajectory).md_state)


@pytest.fixture
def loop():
    def build(wrong=None, structures=None, run_id="r", **settings):
        return Loop(settings, structures or [copper()], wrong, run_id)

    return build


def failing(*reasons, attempts=(0, 1)):
    """Let labels of these reasons fail."""

    def wrong(request, answer):
        if request.reason in reasons and request.attempt in attempts:
            return Answer(error="no convergence")
        return answer

    return wrong


def off(reason, energy=1e4):
    """Let labels of a reason lie far from any prediction."""

    def wrong(request, answer):
        if request.reason != reason:
            return answer
        label = answer.output
        return Answer(label.model_copy(update={"energy": label.energy + energy}))

    return wrong
