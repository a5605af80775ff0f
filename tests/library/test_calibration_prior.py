"""``calibration: library``: the prior of a new run from the errors of earlier ones."""

from __future__ import annotations

import pytest

from onfly import OnTheFlyMaker, RunSpec, label_maker
from onfly.bayes.calibration_prior import fit_gamma_prior
from onfly.flows.resolving import keep_resolved, resolve
from onfly.library import ModelLibrary
from onfly.library.calibration_prior import learned_prior
from onfly.schemas import CalibrationDoc
from onfly.settings import get_settings
from onfly.testing.models import crystal, toy_model, toy_spec

SUMS = (12.0, 30.0, 18.0, 25.0, 40.0, 22.0)


@pytest.fixture
def library():
    library, root = ModelLibrary.from_settings(), get_settings().ARTIFACT_DIR
    for number, total in enumerate(SUMS):
        calibration = CalibrationDoc(shape=1.5, rate=10.0, n=20, sum_z2=total)
        library.publish(toy_model(root, f"m{number}", calibration=calibration))
    return library


def test_each_run_counts_once_with_all_its_errors(library):
    root = get_settings().ARTIFACT_DIR
    early = CalibrationDoc(shape=1.5, rate=10.0, n=3, sum_z2=300.0)
    library.publish(toy_model(root, "early", run_id="run-m0", n_labels=2, calibration=early))
    other = CalibrationDoc(shape=1.5, rate=10.0, n=20, sum_z2=9000.0)
    library.publish(toy_model(root, "other", foundation_model="toy-2", calibration=other))
    assert learned_prior(library, "toy", "sghmc") == fit_gamma_prior([20] * 6, SUMS)
    with pytest.raises(ValueError, match="0 earlier runs"):
        learned_prior(library, "toy", "last_layer")


def test_the_short_form_is_resolved_once_and_recorded(library):
    spec = toy_spec(calibration="library", posterior="sghmc")
    assert spec.calibration.prior == "library"
    assert RunSpec.from_flat(spec.to_flat()) == spec
    found = resolve(spec).calibration
    expected = fit_gamma_prior([20] * 6, SUMS)
    assert (found.shape, found.rate, found.prior) == (expected.shape, expected.rate, "library")
    root = get_settings().ARTIFACT_DIR
    calibration = CalibrationDoc(shape=1.5, rate=10.0, n=20, sum_z2=90.0)
    library.publish(toy_model(root, "later", calibration=calibration))
    assert resolve(resolve(spec)) == resolve(spec)
    # what a run was made with stays, however its library grows
    old = spec.evolve(calibration=found)
    assert keep_resolved(spec, old) == old
    assert resolve(spec) != old


def test_too_few_runs_leave_the_default(caplog):
    spec = toy_spec(calibration="library")
    assert resolve(spec) == spec
    assert "too few" in caplog.text


def test_a_prior_given_in_numbers_needs_no_library():
    spec = toy_spec(calibration={"shape": 2.0, "rate": 3.0})
    assert resolve(spec) == spec


def test_makers_resolve_it(library):
    maker = OnTheFlyMaker(
        spec=toy_spec(calibration="library", posterior="sghmc"), label_maker=label_maker("emt")
    )
    state = maker.make(crystal(), run_id="new").jobs[0].function_args[0]
    expected = fit_gamma_prior([20] * 6, SUMS)
    assert state.posterior.calibration.shape == expected.shape
    assert state.posterior.spec.calibration.rate == expected.rate
