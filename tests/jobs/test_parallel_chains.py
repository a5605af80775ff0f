"""Chains as jobs of their own give the weights of one job."""

from __future__ import annotations

import pytest
from ase.build import bulk
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts.workspace import RunWorkspace
from onfly.flows import OnTheFlyMaker
from onfly.jobs import update
from onfly.jobs.rounds import RoundMaker
from onfly.jobs.update import UpdateMaker
from onfly.rounds.new import new_run
from onfly.testing.models import toy_spec


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ONFLY_N_WORKERS", "1")
    monkeypatch.chdir(tmp_path)


def run(tmp_path, name, posterior, parallel):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.02, seed=1)
    maker = OnTheFlyMaker(
        spec=toy_spec(
            stages=[{"n_steps": 20, "temperature": 300.0, "time_step": 2.0}],
            posterior=posterior,
            reuse_labels=False,
            proof={"attempts": 0},
        ),
        round_maker=RoundMaker(
            fuse=False, update_maker=UpdateMaker(n_workers=1, parallel_chains=parallel)
        ),
    )
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    flow = maker.make(AseAtomsAdaptor.get_structure(atoms), run_id=name)
    run_locally(flow, store=store, ensure_success=True)
    workspace = RunWorkspace(tmp_path / "artifacts", name)
    names = [doc["name"] for doc in store.docs_store.query({}, ["name"])]
    return workspace.read_state().posterior, names


@pytest.mark.parametrize(
    "posterior",
    [
        {"kind": "sghmc", "n_members": 2, "n_steps": 20},
        {"kind": "last_layer", "n_members": 2, "n_steps": 20},
    ],
    ids=["sghmc", "last_layer"],
)
def test_chains_as_jobs_give_the_weights_of_one_job(tmp_path, posterior, monkeypatch):
    one, _ = run(tmp_path, "one", posterior, parallel=False)

    # the gathering job must find every chain done, and run none
    gathered = []
    original = update.learn

    def spy(*args, **kwargs):
        result = original(*args, **kwargs)
        gathered.append(result.posterior.ensemble.generation)
        return result

    monkeypatch.setattr(update, "learn", spy)
    many, names = run(tmp_path, "many", posterior, parallel=True)

    assert one.ensemble.generation >= 2
    assert many.ensemble.generation == one.ensemble.generation
    assert [m.sha256 for m in many.ensemble.members] == [m.sha256 for m in one.ensemble.members]
    assert many.n_labels == one.n_labels
    chains = [name for name in names if " chain " in name]
    assert len(chains) >= posterior["n_members"] * len(gathered) > 0


def test_a_run_in_another_phase_is_passed_on():
    structure = AseAtomsAdaptor.get_structure(bulk("Cu", cubic=True))
    waiting = new_run(toy_spec(), structure, run_id="waiting")
    assert waiting.phase != "learn"
    job = UpdateMaker(parallel_chains=True).make(waiting)
    responses = run_locally(job, ensure_success=True)
    assert responses[job.uuid][1].output.run_id == "waiting"
    assert len(responses) == 1
