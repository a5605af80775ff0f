"""A database that dies, is slow, refuses or is full, and workers that contradict each other."""

from __future__ import annotations

import random

import pytest

from tests.faults.fleet import Fleet
from tests.faults.numbers import numbers

pytestmark = [pytest.mark.mongo, pytest.mark.fireworks]


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    made = []

    def build(**options):
        fleet = Fleet(tmp_path / f"fleet{len(made)}", **options)
        made.append(fleet)
        for name, value in fleet.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("ONFLY_CONFIG_FILE", raising=False)
        return fleet

    yield build
    for one in made:
        one.stop()


def checked(fleet, run_ids, expected):
    """All runs have the numbers of undisturbed ones, and each label was computed once."""
    for run_id in run_ids:
        assert numbers(fleet.artifacts, run_id) == expected[run_id]
    paid, labels = fleet.paid()
    assert set(paid) == labels
    return len(paid), len(labels)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the numbers of runs of the campaign that nobody disturbed, done here one by one."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    from onfly.flows.finetune import OnTheFlyMaker
    from onfly.labels.ase import AseLabelMaker
    from tests.campaign.conftest import metals
    from tests.faults.victim import LABELLER, spec

    home = tmp_path_factory.mktemp("undisturbed")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONFLY_ARTIFACT_DIR", str(home / "artifacts"))
        patch.setenv("ONFLY_TEST_CALLS", str(home / "calls"))
        patch.delenv("ONFLY_CONFIG_FILE", raising=False)
        patch.chdir(home)
        maker = OnTheFlyMaker(
            spec=spec(1), label_maker=AseLabelMaker(calculator=LABELLER), campaign="c"
        )
        for index, structure in enumerate(metals(3)):
            store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
            flow = maker.make(structure, run_id=f"r{index}")
            run_locally(flow, store=store, ensure_success=True, log=False)
            found[f"r{index}"] = numbers(home / "artifacts", f"r{index}")
    return found


@pytest.mark.timeout(600)
def test_the_server_is_killed_twice(fleet, expected):
    one = fleet(n_compounds=1)
    run_ids = one.submit()
    for name in ("w1", "w2"):
        one.start(name)
    one.harass(random.Random(1), kills=2, of="server", longest=4.0)
    one.wait(400)
    n_paid, n_labels = checked(one, run_ids, expected)
    assert n_paid == n_labels  # no worker was killed
    assert one.server_kills > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_server_is_killed_twenty_times(fleet, expected, record_property):
    one = fleet(n_compounds=3)
    run_ids = one.submit()
    for name in ("w1", "w2"):
        one.start(name)
    one.harass(random.Random(20), kills=20, of="server", longest=6.0)
    one.wait(2400)
    n_paid, n_labels = checked(one, run_ids, expected)
    counts: dict[str, int] = {}
    for item in one.mended:
        counts[item.done] = counts.get(item.done, 0) + 1
    message = (
        f"server: {one.server_kills} kills, {n_paid} calculations of {n_labels}; mended {counts}"
    )
    record_property("kills", message)
    print(message)  # noqa: T201
    assert one.server_kills == 20
    assert n_paid == n_labels


@pytest.mark.timeout(600)
def test_workers_are_killed_twice(fleet, expected):
    one = fleet(n_compounds=1)
    run_ids = one.submit()
    for name in ("w1", "w2"):
        one.start(name)
    one.harass(random.Random(2), kills=2, of="worker", longest=4.0)
    one.wait(400)
    n_paid, n_labels = checked(one, run_ids, expected)
    assert n_labels <= n_paid <= n_labels + one.worker_kills


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_workers_are_killed_twenty_times(fleet, expected, record_property):
    one = fleet(n_compounds=3)
    run_ids = one.submit()
    for name in ("w1", "w2"):
        one.start(name)
    one.harass(random.Random(21), kills=20, of="worker", longest=5.0)
    one.wait(2400)
    n_paid, n_labels = checked(one, run_ids, expected)
    message = f"workers: {one.worker_kills} kills, {n_paid} calculations of {n_labels}"
    record_property("kills", message)
    print(message)  # noqa: T201
    assert one.worker_kills == 20
    assert n_labels <= n_paid <= n_labels + one.worker_kills
