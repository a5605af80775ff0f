from __future__ import annotations

import pytest

from onfly.flows import route_jobs
from onfly.jobs.explore import ExploreMaker
from onfly.jobs.publish import PublishMaker
from onfly.jobs.rounds import RoundMaker
from onfly.jobs.update import UpdateMaker
from tests.campaign.conftest import metals
from tests.campaign.managing import Manager
from tests.campaign.nested import NestedLabelMaker

GPU = ("otf segment", "otf round", "otf update", "otf calibration", "otf resident")
FIREWORKS = {
    "gpu": {"_category": "gpu", "_queueadapter": {"walltime": "4:00:00"}},
    "cpu": {"_category": "cpu", "_fworker": "cluster"},
    "manager": "fireworks",
}
REMOTE = {
    "gpu": {"worker": "gpu", "resources": {"gpus_per_node": 1}},
    "cpu": {"worker": "cpu", "resources": {"ntasks": 8}, "exec_config": "vasp"},
    "manager": "remote",
}


@pytest.mark.parametrize("options", [FIREWORKS, REMOTE], ids=["fireworks", "remote"])
@pytest.mark.parametrize("fuse", [True, False])
def test_every_job_however_deep_lands_on_its_workers(options, fuse, make_maker, store):
    maker = make_maker(fuse=fuse, label_maker=NestedLabelMaker(), audit_interval=2)
    manager = Manager(store)
    manager.submit(route_jobs(maker.make(metals(1)[0]), **options))
    manager.run()
    assert max(ran.depth for ran in manager.ran) > 5
    names = {ran.name for ran in manager.ran}
    assert any(name.startswith("otf archive labels") for name in names)
    for ran in manager.ran:
        config = {k: v for k, v in ran.manager_config.items() if k not in ("_priority", "priority")}
        expected = options["gpu"] if ran.name.startswith(GPU) else options["cpu"]
        assert config == expected, ran
        assert not ran.passes_on, ran


def test_names_do_not_matter(make_maker, store):
    maker = make_maker(fuse=False)
    maker.round_maker = RoundMaker(
        "label", fuse=False, update_maker=UpdateMaker("emt"), explore_maker=ExploreMaker("vasp")
    )
    maker.publish_maker = PublishMaker("otf segment")
    manager = Manager(store)
    manager.submit(route_jobs(maker.make(metals(1)[0])))
    manager.run()
    found = {(ran.name.split()[0], ran.manager_config["_category"]) for ran in manager.ran}
    assert {("label", "gpu"), ("vasp", "gpu"), ("emt", "gpu"), ("emt", "cpu")} <= found
    (publish,) = [ran for ran in manager.ran if ran.name == "otf segment"]
    assert publish.manager_config["_category"] == "cpu"


def test_resident_runs_go_to_the_gpu(make_maker):
    flow = route_jobs(make_maker("resident").make(metals(1)[0]))
    found = {job.name: job.config.manager_config for job in flow.jobs}
    assert found["otf resident"] == {"_category": "gpu"}
    assert found["otf publish"] == {"_category": "cpu"}


def test_routing_one_flow_leaves_others_alone(make_maker):
    route_jobs(make_maker().make(metals(1)[0]))
    other = make_maker().make(metals(1)[0])
    assert all(not job.config.manager_config for job in other.jobs)


def test_routing_again_replaces_the_workers(make_maker):
    flow = route_jobs(make_maker().make(metals(1)[0]), **REMOTE)
    route_jobs(flow, gpu={"worker": "a"}, cpu={"worker": "b"}, manager="remote")
    workers = {job.name: job.config.manager_config["worker"] for job in flow.jobs}
    assert workers == {"otf round": "a", "otf publish": "b"}


def test_labels_of_runs_closest_to_their_end_go_first(make_maker, store):
    manager = Manager(store)
    maker = make_maker(n_steps=30, audit_interval=2, proof={"attempts": 0})
    manager.submit(route_jobs(maker.make(metals(1)[0])))
    manager.run()
    labels = [ran.manager_config for ran in manager.ran if ran.name.startswith("emt label")]
    priorities = [config.get("_priority", 0) for config in labels]
    assert len(priorities) > 3
    assert priorities == sorted(priorities)
    assert priorities[0] == 0
    assert 0 < priorities[-1] <= 1000
    assert [config.get("priority", 0) for config in labels] == priorities


def test_keys_of_the_other_manager_are_refused(make_maker):
    flow = make_maker().make(metals(1)[0])
    with pytest.raises(ValueError, match="worker cannot route jobs: FireWorks knows _category"):
        route_jobs(flow, gpu={"worker": "gpu"})
    with pytest.raises(ValueError, match="_category cannot route jobs: jobflow-remote knows"):
        route_jobs(flow, gpu={"_category": "gpu"}, manager="remote")
    with pytest.raises(ValueError, match="unknown manager 'slurm'"):
        route_jobs(flow, manager="slurm")
