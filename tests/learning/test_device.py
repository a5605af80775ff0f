"""Labels, posterior and predictor ready for a GPU, checked without one.

On the device `meta` tensors have no values: what mixes devices, or looks at values, is an error.
On the CPU all that would make the host wait for a GPU is counted.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from torch.utils._python_dispatch import TorchDispatchMode

from onfly.bayes import (
    GaussianPrior,
    LastLayerPosterior,
    LikelihoodScales,
    MemberForces,
    PosteriorState,
    PrioritySampler,
    SGHMCPosterior,
    adam,
    sghmc,
)
from onfly.bayes.flat import FlatParams
from onfly.bayes.heads import head_parameters
from onfly.bayes.prior import NegativeLogPosterior
from onfly.dynamics.predictor import Predictor
from onfly.learning.slopes import feature_slopes
from onfly.learning.target import PotentialTarget
from onfly.potentials import load_foundation
from onfly.seeds import torch_stream
from onfly.testing.models import random_mace

SCALES = LikelihoodScales(energy_std=0.01)
META = torch.device("meta")


def frames(n=2):
    found = []
    for seed in range(n):
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        atoms.rattle(0.1, seed=seed)
        found.append(atoms)
    return found


@pytest.fixture(scope="module", params=["toy", "mace", "chgnet"])
def source(request, tmp_path_factory):
    if request.param == "toy":
        return "toy"
    pytest.importorskip(request.param, exc_type=ImportError)
    if request.param == "chgnet":
        return "chgnet-0.3.0"
    return str(random_mace(tmp_path_factory.mktemp("mace") / "random.safetensors"))


def target_of(source, device, n=2):
    potential = load_foundation(source, elements=["Na", "Cl"], device=device)
    atoms = frames(n)
    graphs = [potential.graph(a) for a in atoms]
    stresses = [np.zeros((3, 3)), *([None] * (n - 1))]
    forces = [np.ones((8, 3))] * n
    return PotentialTarget(potential, graphs, [0.0] * n, forces, stresses, SCALES, atoms=atoms)


def with_head(potential, params):
    head = head_parameters(
        potential.n_features, torch.Generator().manual_seed(0), dtype=potential.dtype
    )
    return params | {name: value.to(potential.device) for name, value in head.items()}


def devices(tensors):
    return {t.device.type for t in tensors if t is not None}


def test_training_gradients_stay_on_the_device(source):
    target = target_of(source, META)
    params = with_head(target.potential, target.reference())
    indices, weights = torch.arange(2), torch.ones(2, dtype=torch.float64)
    value, grads = target.value_and_grad(params, indices, weights)
    assert devices([value, *grads.values()]) == {"meta"}
    assert sum(g is not None for g in grads.values()) > 0.9 * len(params)
    prior = GaussianPrior.around(params, 0.5, scale=target.prior_scale())
    for algorithm in (adam.step, sghmc_step):
        state = sghmc.init(params)
        posterior = NegativeLogPosterior.of(prior, state.params, target.n_data)
        state = algorithm(state, posterior.gradient(state.params, grads), step_size=1e-3)
        assert isinstance(state.params, FlatParams)
        assert devices(state.params.values()) == {"meta"}


def sghmc_step(state, grads, step_size):
    return sghmc.step(
        state, grads, n_data=2, step_size=step_size, temperature=0.0, generator=None, inplace=True
    )


def test_rows_of_the_last_layer_stay_on_the_device(source):
    target = target_of(source, META)
    n_features = target.potential.n_features
    energy = target.summed_features(target.reference())[:2]
    force, stress = target.rows(target.reference(), [0, 1])
    assert devices([energy, force, stress]) == {"meta"}
    assert [tuple(t.shape) for t in (energy, force, stress)] == [
        (2, n_features), (48, n_features), (9, n_features)
    ]  # fmt: skip


def test_moments_of_the_posterior_stay_on_the_device(source):
    potential = load_foundation(source, elements=["Na", "Cl"], device=META)
    (atoms,) = frames(1)
    batch, size = potential.collate([potential.graph(atoms)]), potential.n_features
    params = potential.parameters()
    posterior = LastLayerPosterior()
    extra = {
        "factor": torch.eye(size, dtype=torch.float64, device=META)[None],
        "noise": torch.ones(1, dtype=torch.float64, device=META),
        "species": torch.tensor([11, 17], device=META),
        "species_noise": torch.ones(1, 2, dtype=torch.float64, device=META),
        "scale": torch.ones(1, dtype=torch.float64, device=META),
    }
    state = PosteriorState(posterior.kind, (params,), extra)
    found = potential.evaluate(params, batch, stress=True)
    summed = found.features.sum(0)[None, None].double()
    moments = posterior.energy_moments(state, found.energy[None].double(), summed)
    assert devices(moments) == {"meta"}
    weights = posterior.slope_weights(state)
    assert devices([weights]) == {"meta"}
    force, stress = feature_slopes(potential, params, batch, weights[0], stress=True)
    members = MemberForces(
        forces=found.forces[None],
        features=found.features[None],
        species=torch.as_tensor(atoms.numbers).to(META),
        stress=found.stress,
        force_slopes=force[None],
        stress_slopes=stress[None, :, 0],
    )
    assert devices(posterior.force_moments(state, members)) == {"meta"}
    assert devices(posterior.stress_moments(state, members)) == {"meta"}


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a GPU: values, and tensors that are brought over."""

    WAITING = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero")

    def __init__(self, monkeypatch):
        super().__init__()
        self.found: list[str] = []
        for name in ("cpu", "tolist"):
            self._count(monkeypatch, name)

    def _count(self, monkeypatch, name):
        real = getattr(torch.Tensor, name)

        def counted(tensor):
            # what was never on the device does not wait for it
            if tensor.dtype.is_floating_point:
                self.found.append(name)
            return real(tensor)

        monkeypatch.setattr(torch.Tensor, name, counted)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        masks = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        masked = any(m is not None and m.dtype in (torch.bool, torch.uint8) for m in masks)
        if masked or name.startswith(self.WAITING):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def learned(source, posterior):
    target = target_of(source, "cpu")
    start = posterior.initial(target.potential, ("device",))
    state, _ = posterior.update(start, lambda: target, seed_key=("device",), generation=1)
    return target, Predictor(target.potential, posterior, state, SCALES, "sequential")


@pytest.mark.parametrize(
    "posterior",
    [LastLayerPosterior(n_steps=2, steps_per_new=0), SGHMCPosterior(n_members=2, n_steps=2)],
    ids=["last layer", "sghmc"],
)
def test_an_md_step_waits_for_its_results_alone(source, posterior, monkeypatch):
    _, predictor = learned(source, posterior)
    atoms, other = frames(2)
    predictor.predict(atoms, forces_std=True)
    results = ["_local_scalar_dense", "_local_scalar_dense", "cpu"]  # energy, its std, forces
    with Waits(monkeypatch) as counter:
        predictor.predict(other, stress=False)
    assert sorted(counter.found) == results
    for asked in (True, lambda prediction: True):
        with Waits(monkeypatch) as counter:
            predictor.predict(other, stress=True, forces_std=asked)
        # stress, and the std of both
        assert sorted(counter.found) == [*results, "cpu", "cpu", "cpu"]
    with Waits(monkeypatch) as counter:
        predictor.predict(other, stress=False, forces_std=lambda prediction: False)
    assert sorted(counter.found) == results


def test_a_training_step_waits_for_nothing(source, monkeypatch):
    target = target_of(source, "cpu")
    params = with_head(target.potential, target.reference())
    prior = GaussianPrior.around(params, 0.5, scale=target.prior_scale())
    sampler, generator = PrioritySampler(2, 2), torch_stream("device", "minibatch")
    state = sghmc.init(params)
    posterior = NegativeLogPosterior.of(prior, state.params, target.n_data)
    # labels are drawn, by number, on the host
    indices, weights = sampler.draw(generator)
    with Waits(monkeypatch) as counter:
        _, grads = target.value_and_grad(state.params, indices, weights)
        state = adam.step(state, posterior.gradient(state.params, grads), step_size=1e-3)
        state = sghmc_step(state, posterior.gradient(state.params, grads), step_size=1e-3)
    assert counter.found == []


def test_counting_sees_what_waits(monkeypatch):
    with Waits(monkeypatch) as counter:
        x = torch.arange(3.0)
        x[x > 1]
        float(x.sum())
        x.cpu()
    assert sorted(counter.found) == ["_local_scalar_dense", "cpu", "index"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_an_update_and_an_md_step_are_those_of_the_cpu(source):
    posterior = LastLayerPosterior(n_steps=5, steps_per_new=0)
    found = {}
    for device in ("cpu", "cuda"):
        potential = load_foundation(source, elements=["Na", "Cl"], device=device)
        target = target_of(source, device)
        start = posterior.initial(potential, ("device",))
        state, _ = posterior.update(start, lambda t=target: t, seed_key=("device",), generation=1)
        predictor = Predictor(potential, posterior, state, SCALES)
        found[device] = predictor.predict(frames(2)[1], forces_std=True)
    a, b = found["cpu"], found["cuda"]
    assert b.energy == pytest.approx(a.energy, abs=1e-3)
    np.testing.assert_allclose(b.forces, a.forces, atol=1e-2)
    np.testing.assert_allclose(b.forces_std, a.forces_std, rtol=0.1)
    np.testing.assert_allclose(b.stress_std, a.stress_std, rtol=0.1)
