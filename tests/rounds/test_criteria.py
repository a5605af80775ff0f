"""Tolerances as criteria: what is judged, of which atoms, and what the ledger keeps of it."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.emt import EMT

from onfly.bayes.calibration import Calibration
from onfly.dynamics.criteria import (
    AnyOf,
    Calibrations,
    Criterion,
    EnergyCriterion,
    ForceCriterion,
    StressCriterion,
    needs_stress,
)
from onfly.dynamics.predictor import StepPrediction
from onfly.labels.errors import LabelError
from onfly.rounds.criteria import atoms_of, criterion_of, error_ratios
from onfly.rounds.judge import Answer, requested_structure
from onfly.rounds.new import new_run
from onfly.schemas import to_atoms
from onfly.spec import Tolerance
from onfly.testing.models import crystal, toy_spec, water
from onfly.units import KBAR

NUMBERS = (29, 29, 79, 79)
CALIBRATIONS = Calibrations(energy=Calibration(shape=50.0, rate=50.0))


def prediction(energy_std=1e-3, forces_std=1e-3, atom=None):
    """Return a prediction that is sure, but for the forces on one atom."""
    spread = np.full((4, 3), forces_std)
    if atom is not None:
        spread[atom] = 1.0
    return StepPrediction(0.0, energy_std, np.zeros((4, 3)), spread, None)


def force(value=0.5, **scope):
    return {"quantity": "force", "value": value, **scope}


def upper_half(atoms):
    return atoms.positions[:, 2] > 1.0


def nowhere(atoms):
    return atoms.positions[:, 2] > 1e3


@pytest.mark.parametrize(
    ("scope", "chosen"),
    [
        ({}, (0, 1, 2, 3)),
        ({"species": "Au"}, (2, 3)),
        ({"sites": [1, 3]}, (1, 3)),
        ({"region": "tests.rounds.test_criteria.upper_half"}, (2, 3)),
    ],
)
def test_a_tolerance_of_forces_selects_atoms(scope, chosen):
    assert atoms_of(Tolerance(**force(**scope)), to_atoms(crystal())) == chosen
    run = new_run(toy_spec(tolerance=[force(**scope)]), crystal())
    (atoms,) = run.posterior.tolerance_atoms.values()
    assert atoms == chosen
    criterion = criterion_of(run.posterior, np.array(NUMBERS))
    for atom in range(4):
        found = criterion.assess(prediction(atom=atom), CALIBRATIONS)
        assert found.fires == (atom in chosen)
        assert not found.fires or found.where == (atom,)


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ({"species": "Ag"}, "the structure has no Ag; it has Au, Cu"),
        ({"sites": [4]}, "site 4 does not exist; the structure has 4 atoms"),
        ({"region": "tests.rounds.test_criteria.missing"}, "cannot be imported"),
        ({"region": "tests.rounds.test_criteria.nowhere"}, "one at least must be true"),
    ],
)
def test_a_selection_that_is_impossible_is_refused_before_any_work(scope, words):
    with pytest.raises(ValueError, match=words):
        new_run(toy_spec(tolerance=[force(**scope)]), crystal())


def test_a_force_fires_where_the_energy_does_not():
    unsure = prediction(atom=2)
    energy = EnergyCriterion(0.1)
    forces = ForceCriterion(0.5, NUMBERS, (0, 1, 2, 3))
    assert not energy.assess(unsure, CALIBRATIONS).fires
    assert forces.assess(unsure, CALIBRATIONS).fires
    both = AnyOf([energy, forces])
    assert both.needs_forces_std
    assert both.assess(unsure, CALIBRATIONS).quantity == "force"
    assert not both.assess(prediction(), CALIBRATIONS).fires


def test_who_only_watches_never_fires():
    found = ForceCriterion(0.5, NUMBERS, (2,), watch_only=True).assess(
        prediction(atom=2), CALIBRATIONS
    )
    assert (found.fires, found.exceeded) == (False, True)


def test_a_spread_that_is_not_a_number_fires():
    spread = prediction(forces_std=np.nan)
    assert ForceCriterion(0.5, NUMBERS, (0,)).assess(spread, CALIBRATIONS).fires
    assert EnergyCriterion(0.1).assess(prediction(energy_std=np.nan), CALIBRATIONS).fires


def test_criteria_of_ones_own_stand_beside_them():
    class Cold:
        needs_forces_std = False

        def assess(self, found, calibration):
            fires = bool(found.energy < -1.0)
            from onfly.dynamics.criteria import Assessment

            return Assessment(fires, float(fires), fires, "cold")

    assert isinstance(Cold(), Criterion)
    both = AnyOf([EnergyCriterion(0.1), Cold()])
    assert not both.needs_forces_std
    low = StepPrediction(-2.0, 1e-3, np.zeros((4, 3)), None, None)
    assert both.assess(low, CALIBRATIONS).quantity == "cold"


def test_errors_are_kept_for_each_tolerance():
    tolerances = [
        {"quantity": "energy", "value": 0.2},
        {"quantity": "energy_per_atom", "value": 0.1},
        force(0.5, species="Cu"),
        force(0.25, sites=[3]),
    ]
    run = new_run(toy_spec(tolerance=tolerances), crystal())
    errors = np.zeros((4, 3))
    errors[1] = [0.3, 0.0, 0.4]
    errors[3] = [0.0, 0.1, 0.0]
    found = error_ratios(run.posterior, -0.1, errors)
    assert found == pytest.approx(
        {"energy": 0.5, "energy_per_atom": 0.25, "force[Cu]": 1.0, "force[3]": 0.4}
    )


def test_the_ledger_keeps_the_errors_of_every_tolerance(loop):
    tolerances = [{"quantity": "energy", "value": 100.0}, force(50.0, species="Cu")]
    run = loop(tolerance=tolerances, audit_interval=3)
    run.until("close")
    assert run.ledger.audits
    for entry in run.ledger.audits:
        assert set(entry.errors) == {"energy", "force[Cu]"}
        assert 0 < entry.errors["force[Cu]"] < 1
        assert entry.within()
    assert sum(run.state.posterior.force_calibration.n) > 0
    assert run.verdict().state == "ready"


STRESS = [{"quantity": "stress", "value": "1 kbar"}]


def of_stress(std):
    """Return a prediction whose stress components have this std."""
    spread = None if std is None else np.full((3, 3), std)
    return StepPrediction(
        0.0, 1e-3, np.zeros((4, 3)), np.ones((4, 3)), np.zeros((3, 3)), stress_std=spread
    )


def test_a_tolerance_of_the_stress_judges_the_stress_alone():
    run = new_run(toy_spec(tolerance=STRESS), crystal())
    criterion = criterion_of(run.posterior, np.array(NUMBERS))
    assert isinstance(criterion, StressCriterion)
    assert criterion.threshold == pytest.approx(KBAR)
    assert criterion.needs_forces_std
    assert needs_stress(criterion)
    assert not criterion.assess(of_stress(1e-3 * KBAR), CALIBRATIONS).fires
    found = criterion.assess(of_stress(KBAR), CALIBRATIONS)
    assert (found.fires, found.quantity) == (True, "stress")
    assert criterion.assess(of_stress(np.nan), CALIBRATIONS).fires
    with pytest.raises(ValueError, match="std of the stress"):
        criterion.assess(of_stress(None), CALIBRATIONS)
    watching = criterion_of(run.posterior, np.array(NUMBERS), watch_only=True)
    found = watching.assess(of_stress(KBAR), CALIBRATIONS)
    assert (found.fires, found.exceeded) == (False, True)


def test_of_several_tolerances_the_stress_is_asked_for():
    energy = EnergyCriterion(0.1)
    assert not needs_stress(energy)
    both = AnyOf([energy, StressCriterion(KBAR)])
    assert needs_stress(both)
    assert both.needs_forces_std
    assert both.assess(of_stress(KBAR), CALIBRATIONS).quantity == "stress"


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_an_impossible_tolerance_of_the_stress_is_refused(value):
    with pytest.raises(ValueError, match="positive and finite"):
        StressCriterion(value)


def test_a_molecule_has_no_stress():
    with pytest.raises(ValueError, match="needs a periodic structure"):
        new_run(toy_spec(tolerance=STRESS), water())


def test_errors_of_the_stress_are_those_of_the_largest_component():
    run = new_run(toy_spec(tolerance=STRESS), crystal())
    errors = np.diag([0.1, -0.5, 0.0]) * KBAR
    forces = np.zeros((4, 3))
    assert error_ratios(run.posterior, 0.0, forces, errors) == {"stress": pytest.approx(0.5)}
    assert np.isnan(error_ratios(run.posterior, 0.0, forces)["stress"])


def strained(request, answer):
    """Let labels have the stress of EMT."""
    atoms = to_atoms(answer.output.structure)
    atoms.calc = EMT()
    stress = atoms.get_stress(voigt=False).tolist()
    return Answer(answer.output.model_copy(update={"stress": stress}))


def test_the_ledger_keeps_the_errors_of_the_stress(loop):
    tolerances = [{"quantity": "energy", "value": 100.0}, {"quantity": "stress", "value": 10.0}]
    posterior = {"kind": "last_layer", "n_steps": 10}
    run = loop(strained, tolerance=tolerances, posterior=posterior, audit_interval=3)
    run.until("close")
    assert run.ledger.audits
    for entry in run.ledger.audits:
        assert set(entry.errors) == {"energy", "stress"}
        assert 0 < entry.errors["stress"] < 1
        assert entry.within()
    assert run.state.posterior.stress_calibration.n > 0
    assert run.state.posterior.stress_calibration.sum_z2 > 0
    model = run.verdict()
    assert model.state == "ready"
    assert model.stress_calibration == run.state.posterior.stress_calibration
    assert [t["quantity"] for t in model.tolerances] == ["energy", "stress"]
    assert "stress" in model.verdict["sentence"]


def test_audits_keep_what_was_predicted_and_no_bound_of_it(loop):
    """At most steps of the MD the std is only bounded; that of an audit is computed."""
    run = loop(
        tolerance=[force(50.0)],
        posterior={"kind": "last_layer", "n_steps": 10},
        audit_interval=3,
        stages=[{"n_steps": 30, "temperature": 300.0, "time_step": 2.0}],
    )
    found, most = [], 0
    for _ in range(40):
        if run.state.phase == "publish":
            break
        if run.state.phase == "label" and run.state.posterior.ensemble is not None:
            work = run.session.open(run.state.posterior)
            for request in run.state.due:
                if request.reason not in ("audit", "closing"):
                    continue
                arrays = work.workspace.load_md_state(request.structure)
                atoms = to_atoms(requested_structure(work, request))
                full = work.predictor().predict(atoms, forces_std=True)
                np.testing.assert_allclose(arrays["forces_std"], full.forces_std, rtol=1e-5)
                found.append(request.reason)
                most = max(most, request.md_step)
        run.step()
    assert {"audit", "closing"} <= set(found)
    assert most > 30


def test_stresses_beyond_the_tolerance_ask_for_labels(loop):
    tolerances = [{"quantity": "energy", "value": 1e3}, {"quantity": "stress", "value": 1e-6}]
    run = loop(strained, tolerance=tolerances, posterior={"kind": "last_layer", "n_steps": 10})
    run.until("explore", limit=10)
    run.step()
    (request,) = run.state.requests
    assert (request.reason, request.quantity) == ("uncertain", "stress")


def test_a_labeller_without_stress_cannot_be_judged_by_it(loop):
    run = loop(tolerance=STRESS)
    run.step()
    with pytest.raises(LabelError, match="gives no stress, which a tolerance of the stress needs"):
        run.step()
