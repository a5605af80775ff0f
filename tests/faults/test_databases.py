"""A database that dies, is slow, refuses or is full, and workers that contradict each other."""

from __future__ import annotations

import json
import random
import socket
import time
from collections import Counter
from functools import cache

import pytest
import typer
import yaml
from typer.testing import CliRunner

from onfly.cli import campaign, status, submit
from onfly.flows.manifest import CampaignManifest
from onfly.testing.mongo import MongoAddress
from tests.campaign.conftest import metals
from tests.faults.counted import calls, hold, release
from tests.faults.faulty_proxy import FaultyProxy
from tests.faults.numbers import numbers

KILLS, N_COMPOUNDS = 20, 6

pytestmark = [pytest.mark.mongo, pytest.mark.fireworks]


def checked(fleet, run_ids, expected):
    """All runs have the numbers of undisturbed ones, and each label was computed once."""
    for run_id in run_ids:
        assert numbers(fleet.artifacts, run_id) == expected(run_id)
    paid, labels = fleet.paid()
    assert set(paid) == labels
    return len(paid), len(labels)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the numbers of a run of the campaign that nobody disturbed, done here."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    from onfly.flows.finetune import OnTheFlyMaker
    from onfly.labels.ase import AseLabelMaker
    from tests.faults.victim import LABELLER, spec

    home = tmp_path_factory.mktemp("undisturbed")
    structures = {f"r{i}": structure for i, structure in enumerate(metals(N_COMPOUNDS))}

    @cache
    def undisturbed(run_id):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ONFLY_ARTIFACT_DIR", str(home / "artifacts"))
            patch.setenv("ONFLY_TEST_CALLS", str(home / "calls"))
            patch.delenv("ONFLY_CONFIG_FILE", raising=False)
            patch.chdir(home)
            maker = OnTheFlyMaker(
                spec=spec(1), label_maker=AseLabelMaker(calculator=LABELLER), campaign="c"
            )
            store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
            flow = maker.make(structures[run_id], run_id=run_id)
            run_locally(flow, store=store, ensure_success=True, log=False)
            return numbers(home / "artifacts", run_id)

    return undisturbed


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
    # whose clock is ten minutes behind: by its own word it is lost as soon as it begins
    for name in ("w1", "w2 -600"):
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
        for name in ("w1", "w2 -600"):
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


# -- a server that is slow, full, or refuses ----------------------------------------------------
def call(*words):
    app = typer.Typer()
    app.add_typer(campaign.app, name="campaign")
    submit.register(app)
    status.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def launchpad_file(path, port, seconds=2, **account):
    content = {"host": "127.0.0.1", "port": port, "name": "faults", "strm_lvl": "CRITICAL"}
    content["mongoclient_kwargs"] = {
        "serverSelectionTimeoutMS": 1000 * seconds,
        "directConnection": True,
    }
    path.write_text(yaml.safe_dump(content | account))
    return path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_slow_server_loses_nothing(fleet, expected):
    proxies = []

    def slow(port):
        proxies.append(FaultyProxy(port, delay=0.4))
        return proxies[0].port

    one = fleet(n_compounds=1, before=slow, pause=10.0)
    run_ids = one.submit()
    one.start("w1")
    one.start("w2")
    one.wait(1500)
    n_paid, n_labels = checked(one, run_ids, expected)
    assert n_paid == n_labels
    assert {len(d["launches"]) for d in one.launchpad.fireworks.find({}, {"launches": 1})} == {1}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_five_seconds_an_answer(fleet, tmp_path):
    one = fleet(n_compounds=1)
    one.submit()
    proxy = FaultyProxy(one.port, delay=5.0)
    file = launchpad_file(tmp_path / "slow.yaml", proxy.port, seconds=60)
    begin = time.monotonic()
    done = call("campaign", "mend", "c", "--launchpad", file, "--pause", 0)
    assert done.exit_code == 0, done.output
    assert "nothing to mend" in done.output
    assert time.monotonic() - begin > 20.0
    # a driver that does not wait so long says so, and nothing has happened
    done = call("campaign", "mend", "c", "--launchpad", launchpad_file(file, proxy.port))
    assert done.exit_code == 1
    assert "the database does not answer" in done.output
    assert not one.done()


def test_a_server_that_is_full(fleet, expected, tmp_path):
    """Jobs that cannot write fail or die; with space, nothing is lost and nothing paid twice."""
    proxies = []

    def full(port):
        proxies.append(FaultyProxy(port))
        return proxies[0].port

    one = fleet(n_compounds=1, before=full)
    run_ids = one.submit()
    proxy = proxies[0]
    # the server is full when the job of the second label has its result, and before it is written
    hold(one.calls_file, 2)
    one.start("w1")
    _until(lambda: len(calls(one.calls_file)) == 2, 120)
    assert one.launchpad.get_fw_ids({"state": "RUNNING"})
    proxy.full = True
    release(one.calls_file)
    _until(lambda: proxy.refused > 0, 120)
    file = launchpad_file(tmp_path / "full.yaml", one.port)
    done = call("campaign", "mend", "c", "--launchpad", file, "--pause", 0.1, "--expire", 0)
    assert done.exit_code == 1
    assert "the database does not answer" in done.output or " left" in done.output
    assert "Traceback" not in done.output
    before = set(one.paid()[1])
    proxy.full = False
    one.wait(400)
    n_paid, n_labels = checked(one, run_ids, expected)
    assert n_paid == n_labels
    assert before <= one.paid()[1]


def _until(what, seconds):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_server_that_refuses_the_account_or_is_away(fleet, tmp_path, monkeypatch):
    one = fleet(n_compounds=1)
    one.submit()
    account = {"username": "somebody", "password": "wrong", "authsource": "admin"}
    file = launchpad_file(tmp_path / "account.yaml", one.port, **account)
    done = call("campaign", "mend", "c", "--launchpad", file, "--pause", 0)
    assert done.exit_code == 1, done.output
    assert "It refuses the account: correct user name and password" in done.output
    file = launchpad_file(tmp_path / "away.yaml", _free_port())
    done = call("campaign", "mend", "c", "--launchpad", file, "--pause", 0)
    assert done.exit_code == 1
    assert "the database does not answer" in done.output
    assert "Nothing is lost" in done.output
    (tmp_path / "campaign.yaml").write_text(
        "campaign: c\nstructures: [POSCAR]\nfoundation_model: toy\nthreshold: 1 eV\n"
        "labeller: emt\nstages: [{n_steps: 1, temperature: 300}]\n"
    )
    metals(1)[0].to(str(tmp_path / "POSCAR"), fmt="poscar")
    monkeypatch.setenv("ONFLY_JOB_STORE", json.dumps(MongoAddress(one.uri, "x").job_store_spec()))
    told = call("submit", tmp_path / "campaign.yaml", "--to", "fireworks", "--launchpad", file)
    assert told.exit_code == 1, told.output
    assert "the database does not answer" in told.output
    # the runs are shown without it
    CampaignManifest(
        campaign="c", target="fireworks", launchpad=str(file), compounds={"r0": "Cu"}
    ).write(one.artifacts)
    done = call("status", "--campaign", "c", "--json")
    assert done.exit_code == 0
    assert "r0" in done.output


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_names_and_places_are_told(fleet, tmp_path):
    one = fleet(n_compounds=1)
    done = call("campaign", "mend", "other")
    assert done.exit_code == 2
    assert "nothing was submitted for a campaign other" in done.output
    CampaignManifest(campaign="here", target="local").write(one.artifacts)
    done = call("campaign", "mend", "here")
    assert done.exit_code == 2
    assert "without workers" in done.output
    done = call("campaign", "mend", "c", "--launchpad", tmp_path / "none.yaml")
    assert done.exit_code == 2
    assert "there is no LaunchPad file" in done.output
