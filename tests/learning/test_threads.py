"""Labels in threads: the same numbers for any number of them."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from targets import PairPotential

from onfly.bayes import LastLayerPosterior, LikelihoodScales
from onfly.bayes.chain_task import threads_of
from onfly.bayes.parallel import ChainPool
from onfly.learning import target as target_module
from onfly.learning.target import PotentialTarget, potential_target
from onfly.learning.threads import LabelThreads
from onfly.potentials import load_foundation
from onfly.testing.models import random_mace

SCALES = LikelihoodScales(energy_std=0.01)


def frames(n):
    from ase.build import bulk

    found = []
    for seed in range(n):
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        atoms.rattle(0.1, seed=seed)
        found.append(atoms)
    return found


def make(potential, n=3):
    atoms = frames(n)
    graphs = [potential.graph(a) for a in atoms]
    found = [
        potential.evaluate(potential.parameters(), potential.collate([g]), stress=True)
        for g in graphs
    ]
    return PotentialTarget(
        potential, graphs,
        [float(f.energy[0]) + 0.1 for f in found],
        [f.forces.numpy().astype(float) + 0.1 for f in found],
        [f.stress[0].numpy().astype(float) + 0.01 if k else None for k, f in enumerate(found)],
        SCALES, atoms=atoms,
    )  # fmt: skip


@pytest.fixture(params=["toy", "mace", "chgnet"])
def potential(request, tmp_path):
    name = {"toy": "toy", "chgnet": "chgnet-0.3.0"}.get(request.param)
    if request.param != "toy":
        pytest.importorskip(request.param, exc_type=ImportError)
    if name is None:
        path = random_mace(tmp_path / "random.safetensors")
        return load_foundation(str(path), elements=["Na", "Cl"])
    return load_foundation(name, elements=["Na", "Cl"], dtype=torch.float64)


def test_gradients_do_not_depend_on_the_number_of_threads(potential, monkeypatch):
    monkeypatch.setattr(target_module, "LARGE_PAIRS", 10)
    target, params = make(potential), potential.parameters()
    assert target.apart
    indices, weights = torch.arange(3), torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    value, grads = target.value_and_grad(params, indices, weights)
    for n_threads in (1, 2, 3):
        with threads_of(target, n_threads):
            again, more = target.value_and_grad(params, indices, weights)
        assert torch.equal(again, value)
        for name, grad in grads.items():
            assert (grad is None) == (more[name] is None)
            assert grad is None or torch.equal(more[name], grad)
    # and they are those of all labels together
    target.apart = False
    joint, together = target.value_and_grad(params, indices, weights)
    torch.testing.assert_close(joint, value)
    for name, grad in together.items():
        if grad is not None:
            torch.testing.assert_close(grads[name], grad, rtol=1e-4, atol=1e-6)


def test_the_size_of_labels_alone_decides(potential):
    target = make(potential)
    small = max(len(g.center) for g in target.graphs)
    assert small < target_module.LARGE_PAIRS
    assert not target.apart


def test_an_update_is_the_same_on_any_number_of_cores(monkeypatch):
    monkeypatch.setattr(target_module, "LARGE_PAIRS", 10)
    target = make(load_foundation("toy", elements=["Na", "Cl"]))
    posterior = LastLayerPosterior(n_steps=20, step_size=1e-2)
    start = posterior.initial(target.potential, ("threads",))
    used = []
    real = LabelThreads.map

    def counted(self, work, items):
        used.append(self._executor is not None)
        return real(self, work, items)

    monkeypatch.setattr(LabelThreads, "map", counted)
    states = [
        posterior.update(
            start, lambda: target, seed_key=("threads",), generation=1, n_workers=n_workers
        )[0]
        for n_workers in (1, 2)
    ]
    half = len(used) // 2
    assert not any(used[:half])
    assert all(used[half:])
    assert half > 20  # the rows of the last layer too
    for name, value in states[0].members[0].items():
        assert torch.equal(value, states[1].members[0][name])
    for name, value in states[0].extra.items():
        assert torch.equal(value, states[1].extra[name])


def test_labels_are_side_by_side_and_come_back_in_order():
    threads = LabelThreads(PairPotential())
    at_once, most, lock, potentials = 0, [], threading.Lock(), set()

    def work(potential, item):
        nonlocal at_once
        with lock:
            at_once += 1
            most.append(at_once)
            potentials.add(id(potential))
        time.sleep(0.05 * (4 - item))
        with lock:
            at_once -= 1
        return item, torch.get_num_threads()

    with threads.started(2):
        assert threads.map(work, range(4)) == [(i, 1) for i in range(4)]
    assert max(most) == 2
    assert len(potentials) == 2
    most.clear()
    potentials.clear()
    threads.map(work, range(4))
    assert max(most) == 1
    assert len(potentials) == 1


def test_an_error_in_a_thread_is_raised():
    threads = LabelThreads(PairPotential())

    def work(potential, item):
        raise FloatingPointError(f"label {item}")

    with threads.started(2), pytest.raises(FloatingPointError, match="label 0"):
        threads.map(work, range(3))
    assert threads.map(lambda potential, item: item, [5]) == [5]


def test_a_worker_with_one_chain_has_threads_too():
    from functools import partial

    atoms = frames(2)
    factory = partial(
        potential_target, "toy", atoms, [0.0, 0.1],
        [0.1 * torch.ones(8, 3).numpy()] * 2, None, SCALES, elements=("Na", "Cl"),
    )  # fmt: skip
    posterior = LastLayerPosterior(n_steps=5, step_size=1e-2)
    start = posterior.initial(factory().potential, ("pool",))
    options = {"seed_key": ("pool",), "generation": 1}
    with ChainPool(2) as pool:
        inside = posterior.update(start, factory, pool=pool, **options)[0]
    here = posterior.update(start, factory, **options)[0]
    for name, value in here.members[0].items():
        assert torch.equal(value, inside.members[0][name])
