"""A database that dies, is slow, refuses or is full, and workers that contradict each other."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.faults.fleet import Fleet
from tests.faults.numbers import numbers

KILLS, N_COMPOUNDS = 20, 6

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
        for index, structure in enumerate(metals(N_COMPOUNDS)):
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
    counts = twenty(fleet, expected, "server", longest=2.0)
    assert counts["calculations"] == counts["labels"]
    record_property("kills", counts)


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
    counts = twenty(fleet, expected, "worker", longest=3.0)
    assert counts["labels"] <= counts["calculations"] <= counts["labels"] + counts["kills"]
    record_property("kills", counts)


def twenty(fleet, expected, of, longest):
    """Kill server or workers twenty times in as many campaigns as it takes, and count."""
    draw = random.Random(f"twenty {of}")
    counts: Counter[str] = Counter()
    while counts["kills"] < KILLS:
        one = fleet(n_compounds=N_COMPOUNDS)
        run_ids = one.submit()
        for name in ("w1", "w2"):
            one.start(name)
        one.harass(draw, kills=KILLS - counts["kills"], of=of, longest=longest)
        one.wait(1200)
        n_paid, n_labels = checked(one, run_ids, expected)
        kills = one.server_kills + one.worker_kills
        counts.update(kills=kills, campaigns=1, calculations=n_paid, labels=n_labels)
        counts.update(f"mended: {item.done}" for item in one.mended)
        one.stop()
    print(of, dict(counts))  # noqa: T201
    assert counts["kills"] == KILLS
    return counts
