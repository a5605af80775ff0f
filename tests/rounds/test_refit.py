"""After a proof the labels of the proof are learned too, beside the weights that it is about."""

from __future__ import annotations

import numpy as np
import pytest

from onfly.artifacts.blobs import ensemble_files
from onfly.library.loading import build_calculator
from onfly.rounds.reopen import reopen
from onfly.schemas import to_atoms
from onfly.spec import RunSpec
from tests.rounds.conftest import SMALL_PROOF, copper, off


def store_of(run):
    return run.session.workspace(run.run_id).store


def weights(doc):
    return [ref.sha256 for ref in doc.members]


@pytest.fixture(name="ready")
def a_ready_run(loop):
    run = loop(audit_interval=4)
    run.until("refit")
    run.proven = run.state.posterior.ensemble
    run.model = run.verdict()
    return run


def test_the_proven_weights_stay_and_the_refit_has_seen_every_label(ready):
    model = ready.model
    assert ready.phases.count("refit") == 1
    assert model.state == "ready"
    assert model.ensemble == ready.proven
    assert model.proven_generation == ready.proven.generation
    assert model.refit.generation == ready.proven.generation + 1
    assert model.refit.n_labels == model.n_labels > model.ensemble.n_labels
    assert weights(model.refit) != weights(model.ensemble)
    # the ledger does not count it: a run that is continued goes on from the proven weights
    assert ready.ledger.unlearned == ready.ledger.closing(0)


def test_its_files_are_kept_and_published(ready):
    store = store_of(ready)
    refs = ensemble_files(*ready.model.ensembles)
    assert len(refs) > len(ensemble_files(ready.model.ensemble))
    assert all(store.exists(ref) for ref in refs)


def test_the_calculator_takes_either(ready):
    atoms = to_atoms(copper(seed=3))
    found = {}
    for which in ("proven", "refit"):
        calculator = build_calculator(ready.model, store_of(ready), weights=which)
        atoms.calc = calculator
        found[which] = atoms.get_potential_energy()
    assert found["proven"] != found["refit"]
    assert np.isfinite(list(found.values())).all()
    with pytest.raises(ValueError, match="neither 'proven' nor 'refit'"):
        build_calculator(ready.model, store_of(ready), weights="new")


def test_without_it_nothing_is_fitted(loop):
    run = loop(audit_interval=4, proof={**SMALL_PROOF, "refit": False})
    model = run.verdict()
    assert model.state == "ready"
    assert "refit" not in run.phases
    assert model.refit is None
    with pytest.raises(ValueError, match="has no refit"):
        build_calculator(model, store_of(run), weights="refit")


def test_a_model_that_is_not_ready_has_none(loop):
    run = loop(off("closing"), proof=SMALL_PROOF)
    model = run.verdict()
    assert model.state == "not accurate enough"
    assert "refit" not in run.phases
    assert model.refit is None


def test_a_run_that_goes_on_forgets_it(ready):
    spec = ready.state.posterior.spec
    flat = spec.to_flat()
    flat["stages"] = [*flat["stages"], {"n_steps": 4, "temperature": 300.0}]
    again = reopen(ready.state, RunSpec.from_flat(flat), ready.ledger)
    assert again.posterior.refit is None
    assert again.posterior.ensemble == ready.proven
