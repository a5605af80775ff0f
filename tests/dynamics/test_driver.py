from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chisquare

from onfly.bayes.calibration import Calibration
from onfly.dynamics.calculator import SuppliedLabel
from onfly.dynamics.criteria import Calibrations
from onfly.dynamics.driver import Exploded, Finished, LabelRequest, Moved
from onfly.dynamics.guards import Guards
from onfly.dynamics.schedules import AuditSchedule, Warmup, audits_suffice, due
from onfly.dynamics.stages import MDStage
from onfly.dynamics.state import MDState
from tests.dynamics.conftest import run, same

STAGES = {
    "langevin": MDStage(40, temperature=300.0),
    "langevin-ramp": MDStage(40, temperature=(300.0, 600.0)),
    "nve": MDStage(40, temperature=None, ensemble="nve"),
    "nvt-nose-hoover": MDStage(40, temperature=300.0, dynamics="nose-hoover-chain"),
    "nvt-bussi": MDStage(40, temperature=300.0, dynamics="bussi"),
    "nvt-berendsen": MDStage(40, temperature=300.0, dynamics="berendsen"),
    "npt-mtk": MDStage(40, temperature=300.0, pressure=1.0, ensemble="npt"),
    "npt-berendsen": MDStage(
        40, temperature=300.0, pressure=1.0, ensemble="npt", dynamics="berendsen"
    ),
}


def test_nve_conserves_energy(make_driver, initial_state):
    driver = make_driver([MDStage(300, temperature=None, ensemble="nve")], time_step=1.0)
    state, totals = initial_state, []
    for _ in range(300):
        state, event = driver.step(state)
        assert isinstance(event, Moved)
        totals.append(state.energy + state.kinetic_energy)
    n_atoms = len(initial_state.numbers)
    assert np.ptp(totals) / n_atoms < 1e-5
    assert np.ptp([t - state.energy for t in totals]) > 0


@pytest.mark.parametrize("name", STAGES)
def test_joined_segments_are_one_run_bit_for_bit(name, make_driver, initial_state):
    stages = [STAGES[name]]
    whole, _ = run(make_driver(stages), initial_state, 30)
    first, _ = run(make_driver(stages), initial_state, 13)
    stored = MDState.from_arrays(first.to_arrays())
    joined, _ = run(make_driver(stages), stored, 17)
    assert same(whole, joined)
    assert not np.array_equal(whole.positions, initial_state.positions)


def test_joining_without_the_thermostat_would_show(make_driver, initial_state):
    """The test above can fail: a thermostat started afresh gives another run."""
    from dataclasses import replace

    stages = [STAGES["npt-mtk"]]
    whole, _ = run(make_driver(stages), initial_state, 30)
    first, _ = run(make_driver(stages), initial_state, 13)
    joined, _ = run(
        make_driver(stages),
        replace(first, integrator={k: 0 * v for k, v in first.integrator.items()}),
        17,
    )
    assert not same(whole, joined)


def test_npt_changes_the_cell_and_nvt_does_not(make_driver, initial_state):
    npt, _ = run(make_driver([STAGES["npt-mtk"]]), initial_state, 20)
    nvt, _ = run(make_driver([STAGES["langevin"]]), initial_state, 20)
    assert not np.array_equal(npt.cell, initial_state.cell)
    assert np.array_equal(nvt.cell, initial_state.cell)


def test_stages_jump_and_end(make_driver, initial_state):
    stages = [
        MDStage(150, temperature=300.0, ase_md_kwargs={"friction": 0.02}),
        MDStage(150, temperature=1200.0, ase_md_kwargs={"friction": 0.02}),
    ]
    driver = make_driver(stages, time_step=1.0)
    state, temperatures = initial_state, []
    while True:
        state, event = driver.step(state)
        if isinstance(event, Finished):
            break
        temperatures.append(state.temperature)
    assert state.step == 300
    assert np.mean(temperatures[200:]) > 1.7 * np.mean(temperatures[:150])


def test_uncertain_step_is_not_taken(make_driver, make_predictor, initial_state):
    driver = make_driver(
        [STAGES["langevin"]], threshold=1e-3, predictor=make_predictor(spread=0.05)
    )
    state, event = driver.step(initial_state)
    assert isinstance(event, LabelRequest)
    assert event.reason == "uncertain"
    assert event.assessment.probability > 0.05
    assert same(state, initial_state)
    assert not np.array_equal(event.atoms.positions, initial_state.positions)


@pytest.mark.parametrize("name", ["langevin", "nve", "npt-mtk", "npt-berendsen"])
def test_the_step_after_a_label_uses_its_forces(name, make_driver, make_predictor, initial_state):
    stages = [STAGES[name]]
    uncertain = make_predictor(spread=0.05)
    _, event = make_driver(stages, threshold=1e-3, predictor=uncertain).step(initial_state)
    forces = 0.1 * np.ones_like(initial_state.forces)
    forces[0, 0] = -1.0
    label = SuppliedLabel(
        event.atoms.positions, event.atoms.cell.array, -7.0, forces, np.zeros((3, 3))
    )
    driver = make_driver(stages, threshold=1e-3, predictor=uncertain, supplied=label)
    state, moved = driver.step(initial_state)
    assert isinstance(moved, Moved)
    assert state.source == "label"
    assert state.energy == -7.0
    np.testing.assert_array_equal(state.forces, forces)
    np.testing.assert_array_equal(state.positions, event.atoms.positions)
    if name == "npt-berendsen":
        return  # ASE scales the cell first, so that the next half kick has forces of its own
    # the first half kick of the next step uses them as well, whatever the ensemble says
    free = make_driver(stages)
    after, _ = free.step(state)
    other, _ = make_driver(stages).step(MDState(**{**vars(state), "forces": np.zeros_like(forces)}))
    assert not np.array_equal(after.positions, other.positions)


def test_audits_are_random_steps_of_their_own_stream():
    schedule = AuditSchedule(50, ("a",))
    steps = [s for s in range(20_000) if schedule.is_audit(s)]
    # one in each stretch of 50, anywhere in it
    assert [(s - 1) // 50 for s in steps] == list(range(400))
    within = [(s - 1) % 50 for s in steps]
    assert chisquare(np.bincount(within, minlength=50)).pvalue > 1e-4
    assert steps == [s for s in range(20_000) if AuditSchedule(50, ("a",)).is_audit(s)]
    assert steps != [s for s in range(20_000) if AuditSchedule(50, ("b",)).is_audit(s)]
    assert not any(AuditSchedule(0, ("a",)).is_audit(s) for s in range(1000))


def test_audits_thin_out_with_the_steps_since_their_origin():
    every, thinned = AuditSchedule(50, ("a",)), AuditSchedule(50, ("a",), thinning=0.125)
    steps = [s for s in range(20_000) if thinned.is_audit(s)]
    stretches = [(s - 1) // 50 for s in steps]
    assert stretches[:17] == list(range(17))
    # nowhere is a gap of more than an eighth of what lies before it
    assert all(b - a <= max(1, a / 8) for a, b in pairwise(stretches))
    assert len(steps) == thinned.count(20_000) == 45
    # those that are left are the same steps, also from another origin
    assert set(steps) <= {s for s in range(20_000) if every.is_audit(s)}
    again = [s for s in range(12_001, 20_000) if thinned.is_audit(s, origin=12_001)]
    assert [(s - 1) // 50 for s in again[:17]] == list(range(240, 257))
    assert len(again) == thinned.count(8_000)


@pytest.mark.parametrize("thinning", [-0.1, 1.0])
def test_impossible_thinning_is_refused(thinning):
    with pytest.raises(ValueError, match="audit_thinning"):
        AuditSchedule(50, ("a",), thinning=thinning)


def test_audits_are_judged_in_growing_rounds_of_eight_at_most():
    rounds, judged = [], 0
    while judged < 40:
        waiting = next(n for n in range(1, 99) if audits_suffice(n, judged, 1.0))
        rounds.append(waiting)
        judged += waiting
    assert rounds == [1, 1, 2, 4, 8, 8, 8, 8]
    assert not audits_suffice(1000, 0, None)


def test_warmup_asks_until_labels_count():
    never, warmup = AuditSchedule(0, ("a",)), Warmup(2, 5)
    asked = [due(7, never, warmup, n_counted=1, steps_since_label=n) for n in range(1, 7)]
    assert asked == [None] * 4 + ["warmup"] * 2
    assert due(7, never, warmup, n_counted=2, steps_since_label=100) is None
    always = AuditSchedule(1, ("a",))
    assert due(7, always, warmup, n_counted=1, steps_since_label=100) == "audit"


def test_explosion_rolls_back_and_asks(make_driver, initial_state):
    driver = make_driver([STAGES["langevin"]], guards=Guards(max_temperature=1.0))
    state, event = driver.step(initial_state)
    assert isinstance(event, LabelRequest)
    assert event.reason == "guard"
    assert "temperature" in event.detail
    assert same(state, initial_state)
    np.testing.assert_array_equal(event.atoms.positions, initial_state.positions)
    labelled = initial_state.with_results(-1.0, initial_state.forces, initial_state.stress)
    _, event = make_driver([STAGES["langevin"]], guards=Guards(max_temperature=1.0)).step(labelled)
    assert isinstance(event, Exploded)


def test_forces_that_are_not_finite_are_caught(make_driver, initial_state):
    bad = MDState(**{**vars(initial_state), "forces": np.full((4, 3), np.nan)})
    state, event = make_driver([STAGES["nve"]]).step(bad)
    assert isinstance(event, LabelRequest)
    assert same(state, bad) or np.isnan(state.forces).all()


def test_atoms_too_close_are_caught(initial_state):
    positions = initial_state.positions.copy()
    positions[1] = positions[0] + [0.3, 0, 0]
    close = MDState(**{**vars(initial_state), "positions": positions})
    assert "closer" in Guards().check(close, 300.0, initial_state.volume)
    assert Guards().check(initial_state, 300.0, initial_state.volume) is None


def test_calibration_moves_the_decision(make_driver, make_predictor, initial_state):
    predictor = make_predictor(spread=0.01)
    std = predictor.predict(initial_state.to_atoms()).energy_std
    honest = Calibration()
    for _ in range(30):
        honest = honest.update(std, std)
    driver = make_driver([STAGES["langevin"]], threshold=4 * std, predictor=predictor)
    assert isinstance(driver.step(initial_state)[1], LabelRequest)
    driver = make_driver([STAGES["langevin"]], threshold=4 * std, predictor=predictor)
    driver.calibration = Calibrations(honest)
    assert isinstance(driver.step(initial_state)[1], Moved)


def test_a_rewound_state_takes_another_way(make_driver, initial_state):
    rewound = initial_state.rewound(300.0, ("test",))
    assert rewound.temperature == pytest.approx(300.0, rel=0.8)
    a, _ = run(make_driver([STAGES["langevin"]]), initial_state, 3)
    b, _ = run(make_driver([STAGES["langevin"]]), rewound, 3)
    assert not np.allclose(a.positions, b.positions)
