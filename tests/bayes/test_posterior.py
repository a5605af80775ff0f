from __future__ import annotations

import functools

import pytest
import torch
from targets import PairPotential, pair_target

from onfly.bayes import (
    ChainPool,
    MemberForces,
    SGHMCPosterior,
    posterior_from_dict,
    posterior_kinds,
)

KEY = ("test", "ensemble")
FAST = SGHMCPosterior(n_members=3, n_steps=60)


def equal(a, b) -> bool:
    return all(
        x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)
        for x, y in zip(a.members, b.members, strict=True)
    )


@pytest.fixture(scope="module")
def initial():
    return FAST.initial(PairPotential(), KEY)


@pytest.fixture(scope="module")
def factory():
    return functools.partial(pair_target, 3)


@pytest.fixture(scope="module")
def updated(initial, factory):
    return FAST.update(initial, factory, seed_key=KEY, generation=1)


def test_initial_members_are_the_foundation_with_heads_of_their_own(initial):
    reference = PairPotential().parameters()
    for member in initial.members:
        assert all(torch.equal(member[k], v) for k, v in reference.items())
    first, second = (m["head.0.weight"] for m in initial.members[:2])
    assert not torch.equal(first, second)


def test_fixed_seed_gives_equal_bits(initial, factory, updated):
    torch.manual_seed(123)  # the global generator must not matter
    again, _ = FAST.update(initial, factory, seed_key=KEY, generation=1)
    assert equal(again, updated[0])
    other, _ = FAST.update(initial, factory, seed_key=KEY, generation=2)
    assert not equal(other, updated[0])


def test_update_changes_nothing_it_was_given(initial, factory, updated):
    assert equal(initial, FAST.initial(PairPotential(), KEY))


def test_members_differ_and_unreached_parameters_stay(updated):
    members = updated[0].members
    assert not torch.equal(members[0]["w1"], members[1]["w1"])
    for member in members:
        assert torch.equal(member["unused"], torch.ones(3, dtype=torch.float64))


def test_workers_change_no_bit(initial, factory, updated):
    threads = torch.get_num_threads()
    with ChainPool(2) as pool:
        two, info = FAST.update(initial, factory, seed_key=KEY, generation=1, pool=pool)
        assert equal(two, updated[0])
        assert info.traces == updated[1].traces
        again, _ = FAST.update(two, factory, seed_key=KEY, generation=2, pool=pool)
    alone, _ = FAST.update(updated[0], factory, seed_key=KEY, generation=2)
    assert equal(again, alone)
    assert torch.get_num_threads() == threads


def test_finished_chains_are_not_repeated(initial, factory, updated, tmp_path):
    options = {"seed_key": KEY, "generation": 1, "cache_dir": tmp_path}
    first, info = FAST.update(initial, factory, **options)
    assert info.n_reused == 0
    files = sorted(tmp_path.iterdir())
    assert [f.suffix for f in files] == [".safetensors"] * 3
    files[0].unlink()
    files[1].write_bytes(b"half a file")
    second, info = FAST.update(initial, factory, **options)
    assert info.n_reused == 1
    assert equal(first, second)
    assert equal(first, updated[0])
    # other labels are other results
    _, info = FAST.update(initial, functools.partial(pair_target, 4), **options)
    assert info.n_reused == 0


def test_trace_is_small_and_shows_the_fit(updated):
    trace = updated[1].traces[0]
    assert 20 <= len(trace["step"]) <= 70
    assert len({len(v) for v in trace.values()}) == 1
    assert trace["log_likelihood"][-1] > trace["log_likelihood"][0]


def test_energy_moments_follow_total_variance(updated):
    energies = torch.tensor([[1.0, 2.0], [3.0, 2.0], [2.0, 2.0]])
    mean, variance = FAST.energy_moments(updated[0], energies)
    assert mean.tolist() == [2.0, 2.0]
    assert variance.tolist() == [1.0, 0.0]


def test_settings_round_trip_and_bad_ones_are_refused():
    assert posterior_from_dict(FAST.to_dict()) == FAST
    paper = SGHMCPosterior.paper(n_members=4)
    assert (paper.n_members, paper.n_steps, paper.batch_size) == (4, 2000, 5)
    with pytest.raises(ValueError, match="unknown posterior kind 'vi'"):
        posterior_from_dict({"kind": "vi"})
    with pytest.raises(ValueError, match="n_step"):
        posterior_from_dict({"kind": "sghmc", "n_step": 5})
    for bad in ({"n_members": 1}, {"n_steps": 0}, {"friction": 0.0}, {"step_size": -1.0}):
        with pytest.raises(ValueError):
            posterior_from_dict({"kind": "sghmc", **bad})


def test_state_of_another_size_is_refused(initial, factory):
    with pytest.raises(ValueError, match="members"):
        SGHMCPosterior(n_members=2, n_steps=5).update(initial, factory, seed_key=KEY, generation=1)


PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar

from onfly.bayes import Posterior, PosteriorState, UpdateInfo
from onfly.bayes.ensemble import energy_moments


@dataclass(frozen=True)
class Frozen(Posterior):
    n_members: int = 1
    width: float = 0.5
    kind: ClassVar[str] = "frozen"

    def update(self, state, target_factory, **options):
        return state, UpdateInfo((), 0.0)

    def energy_moments(self, state, energies, features=None):
        mean, variance = energy_moments(energies)
        return mean, variance + self.width**2


no_posterior = dict
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package beside this one that is installed with an entry point."""
    (tmp_path / "onfly_plugin_for_tests.py").write_text(PLUGIN)
    info = tmp_path / "onfly_plugin_for_tests-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: onfly-plugin-for-tests\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "[onfly.posteriors]\n"
        "frozen = onfly_plugin_for_tests:Frozen\n"
        "broken = onfly_plugin_for_tests:no_posterior\n"
        "sghmc = onfly_plugin_for_tests:Frozen\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_another_package_adds_a_posterior(installed):
    assert posterior_kinds()["frozen"] == "onfly_plugin_for_tests:Frozen"
    posterior = posterior_from_dict({"kind": "frozen", "width": 2.0})
    assert posterior_from_dict(posterior.to_dict()) == posterior
    state = posterior.initial(PairPotential(), KEY)
    assert state.members[0].keys() == PairPotential().parameters().keys()
    _, variance = posterior.energy_moments(state, torch.zeros(1, 2))
    assert variance.tolist() == [4.0, 4.0]
    # what a posterior does not know of forces, the base class takes from the members
    forces = MemberForces(torch.ones(1, 5, 3), torch.zeros(1, 5, 6), torch.ones(5))
    assert torch.equal(posterior.force_moments(state, forces)[1], torch.zeros(5, 3).double())
    assert posterior.slope_weights(state) is None
    with pytest.raises(ValueError, match="no stress"):
        posterior.stress_moments(state, forces)


def test_own_kinds_come_first_and_others_are_checked(installed):
    assert isinstance(posterior_from_dict({"kind": "sghmc"}), SGHMCPosterior)
    with pytest.raises(TypeError, match="no_posterior is not a dataclass derived"):
        posterior_from_dict({"kind": "broken"})
    with pytest.raises(ValueError, match="frozen"):
        posterior_from_dict({"kind": "vi"})


def test_spread_of_forces_per_component(updated):
    generator = torch.Generator().manual_seed(0)
    forces = torch.randn(3, 4, 3, generator=generator)
    members = MemberForces(
        forces, torch.zeros(3, 4, 6), torch.ones(4), own_std=torch.full((3, 4), 0.5),
        stress=torch.randn(3, 3, 3, generator=generator),
    )  # fmt: skip
    mean, variance = FAST.force_moments(updated[0], members)
    assert torch.allclose(mean, forces.double().mean(0))
    assert torch.allclose(variance, forces.double().var(0) + 0.25)
    mean, variance = FAST.stress_moments(updated[0], members)
    assert torch.allclose(variance, members.stress.double().var(0))
