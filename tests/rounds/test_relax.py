"""Relaxations in the loop: calls, labels that decide, learning, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.dynamics.state import MDState
from onfly.rounds.judge import Answer
from onfly.rounds.plan import plan_run
from onfly.rounds.reopen import ReopenError, reopen
from onfly.rounds.table import PHASES, Round
from tests.rounds.conftest import ALWAYS_UNSURE, emt_label, failing, off

RELAX = {"driver": "relax", "n_steps": 100, "fmax": 0.05}


def shaken(seed=1, amount=0.08, size=1.0):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * size, scale_atoms=True)
    atoms.rattle(amount, seed=seed)
    return AseAtomsAdaptor.get_structure(atoms)


def with_stress(request, answer):
    """Give the stress of EMT as well."""
    from ase.calculators.emt import EMT

    from onfly.schemas import to_atoms

    atoms = to_atoms(answer.output.structure)
    atoms.calc = EMT()
    stress = atoms.get_stress(voigt=False).tolist()
    return Answer(answer.output.model_copy(update={"stress": stress}))


@pytest.fixture
def relax(loop):
    def build(wrong=None, structures=None, run_id="r", **settings):
        stage = RELAX | settings.pop("stage", {})
        settings = {"threshold": 0.1} | settings
        return loop(wrong, structures or [shaken()], run_id, stages=[stage], **settings)

    return build


def test_a_relaxation_ends_where_the_labeller_agrees(relax):
    run = relax()
    model = run.verdict()
    assert model.state == "ready", model.verdict["sentence"]
    assert "the labeller's largest force is" in model.verdict["sentence"]
    last = run.ledger.of("deciding")[-1]
    assert last.within()
    assert last.generation == model.proven_generation
    state = MDState.from_arrays(run.md_state())
    label = run.session.labels.get(last.label)
    again = emt_label(label.structure)
    assert np.linalg.norm(again.forces, axis=1).max() < 0.05
    assert label.energy == pytest.approx(again.energy)
    np.testing.assert_allclose(state.positions, label.structure.cart_coords, atol=1e-9)
    # what decided is learned only where it refuted
    assert run.ledger.unlearned == (last,)


def test_the_cell_relaxes_with_the_stress_of_the_labels(relax):
    run = relax(with_stress, [shaken(size=1.03)], stage={"cell": True}, threshold=0.5)
    model = run.verdict()
    assert model.state == "ready", model.verdict["sentence"]
    label = run.session.labels.get(run.ledger.of("deciding")[-1].label)
    volume = label.structure.volume
    on_cell = volume / 4 * np.linalg.norm(label.stress, axis=1).max()
    assert on_cell < 0.05
    assert volume == pytest.approx(4 * 11.56, rel=0.02)  # of EMT's copper


def test_a_call_is_taken_with_the_forces_of_its_label(relax):
    run = relax(**ALWAYS_UNSURE, stage={"calls": True})
    run.until("explore")
    run.step()
    request = run.state.requests[0]
    assert request.reason == "uncertain"
    assert request.md_step == 1
    assert len(run.state.requests) == 1  # nothing is looked for ahead
    run.until("explore")
    run.step()
    state = MDState.from_arrays(run.md_state())
    asked = run.session.workspace("r").load_md_state(request.structure)
    assert state.step == 1
    assert state.source == "label"
    np.testing.assert_array_equal(state.positions, asked["positions"])
    forces = run.session.labels.get(run.ledger.of("uncertain")[0].label).forces
    np.testing.assert_array_equal(state.forces, forces)


def test_a_run_that_is_killed_gives_the_same_numbers(relax, monkeypatch):
    settings = {"checkpoint_interval": 2, "traj_interval": 1}
    whole = relax(**settings)
    whole.until("publish")
    again = relax(run_id="again", **settings)
    kills = 0
    while again.state.phase != "publish":
        if again.state.phase == "explore":
            from onfly.dynamics.relax import RelaxDriver

            step, taken = RelaxDriver.step, []

            def killed(self, state, step=step, taken=taken):
                taken.append(1)
                if len(taken) > 3:
                    raise KeyboardInterrupt
                return step(self, state)

            with monkeypatch.context() as patch:
                patch.setattr(RelaxDriver, "step", killed)
                try:
                    PHASES["explore"](again.state, Round(again.session))
                except KeyboardInterrupt:
                    kills += 1
        again.step()
    assert kills > 0
    for a, b in zip(whole.ledger.entries, again.ledger.entries, strict=True):
        assert a == b
    left, right = whole.md_state(), again.md_state()
    assert left.keys() == right.keys()
    assert all(np.array_equal(left[k], right[k]) for k in left)


def test_rounds_that_are_used_up_are_not_accurate_enough(relax):
    run = relax(off("deciding"), stage={"decisions": 1})
    model = run.verdict()
    assert model.state == "not accurate enough"
    assert "No further round is allowed" in model.verdict["sentence"]
    assert model.stop_reason == "1 rounds of labels decided against the end"
    assert run.ledger.unlearned == ()


def test_an_energy_that_is_off_is_judged_again_after_learning(relax):
    run = relax(threshold=0.02, posterior={"kind": "sghmc", "n_members": 2, "n_steps": 40})
    run.until("publish")
    entries = run.ledger.of("deciding")
    # by symmetry the forces vanish, so that the relaxation does not move any more
    assert len({e.step for e in entries}) < len(entries)
    assert len({e.generation for e in entries}) == len(entries) <= 10


def test_several_structures_are_relaxed_together(relax):
    run = relax(structures=[shaken(1), shaken(2)], walkers=2)
    model = run.verdict()
    assert model.state == "ready"
    assert {e.trajectory for e in run.ledger.of("deciding")} == {0, 1}
    assert "all 2 relaxed configurations" in model.verdict["sentence"]


def test_a_deciding_label_that_fails_twice_proves_nothing(relax):
    run = relax(failing("deciding"), stopping={"max_failures": 1})
    model = run.verdict()
    assert model.state == "stopped"
    assert "Nothing is proven" in model.verdict["sentence"]


def test_without_a_proof_nothing_decides(relax):
    run = relax(proof={"attempts": 0})
    model = run.verdict()
    assert model.state == "needs more audits"
    assert run.ledger.counts() == {"initial": 1}
    assert "no proof was asked" in model.stop_reason


def test_without_calls_only_the_end_is_labelled(relax):
    run = relax(**ALWAYS_UNSURE)
    run.verdict()
    assert set(run.ledger.counts()) == {"initial", "deciding"}


def test_what_a_relaxation_will_cost(relax):
    run = relax()
    plan = plan_run(run.state.posterior.spec, run.structures[0])
    assert (plan.audits_expected, plan.closing_steps) == (0.0, 0)
    assert plan.proof_labels == plan.proof_waits == (1, 10)
    assert plan.labels_at_least == 2


def test_a_run_that_gave_up_is_taken_up_with_more_decisions(relax):
    run = relax(stage={"decisions": 1, "fmax": 0.02})
    run.until("publish")
    spec = run.state.posterior.spec
    with pytest.raises(ReopenError, match="raise `decisions`"):
        reopen(run.state, spec, run.ledger)
    (stage,) = spec.trajectories.stages
    harder = spec.trajectories.evolve(stages=(stage.evolve(fmax=0.01),))
    with pytest.raises(ReopenError, match="only `decisions`"):
        reopen(run.state, spec.evolve(trajectories=harder), run.ledger)
    more = spec.trajectories.evolve(stages=(stage.evolve(decisions=10),))
    run.state = reopen(run.state, spec.evolve(trajectories=more), run.ledger)
    assert run.state.phase == "close"
    assert run.verdict().state == "ready"
    with pytest.raises(ReopenError, match="the run is ready"):
        reopen(run.state, run.state.posterior.spec, run.ledger)
