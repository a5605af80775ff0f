from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from targets import PairPotential, argon, pair_target

from onfly.bayes import LikelihoodScales
from onfly.bayes.heads import head_log_scale, head_parameters
from onfly.learning import PotentialTarget


@pytest.fixture
def params():
    potential = PairPotential()
    head = head_parameters(6, torch.Generator().manual_seed(2), dtype=torch.float64)
    head["head.2.bias"] += 0.3
    return potential.parameters() | head


def test_log_likelihood_equals_scipy(params):
    target = pair_target(3)
    values = target.log_likelihood(params, [0, 2])
    for value, i in zip(values.tolist(), (0, 2), strict=True):
        batch, labels = target.batch([i])
        prediction = target.potential.evaluate(params, batch, stress=True)
        sigma = 0.02 * torch.exp(head_log_scale(params, prediction.features)).detach().numpy()
        expected = norm.logpdf(prediction.energy.item(), labels.energy.item(), 0.01)
        expected += norm.logpdf(
            prediction.forces.detach(), labels.forces, np.repeat(sigma[:, None], 3, 1)
        ).sum()
        expected += norm.logpdf(prediction.stress.detach(), labels.stress, 0.01).sum()
        assert value == pytest.approx(float(expected), rel=1e-10)


def test_stress_counts_only_where_it_is_labelled(params):
    full = pair_target(2)
    partial = PotentialTarget(
        full.potential, full.graphs, full._energies, full._forces,
        [full._stresses[0], None], full.scales,
    )  # fmt: skip
    none = PotentialTarget(
        full.potential, full.graphs, full._energies, full._forces, None, full.scales
    )
    a, b, c = (t.log_likelihood(params, [0, 1]).tolist() for t in (full, partial, none))
    assert b[0] == pytest.approx(a[0])
    assert b[1] == pytest.approx(c[1])
    assert b[1] != pytest.approx(a[1])


def test_gradient_by_finite_differences(params):
    target = pair_target(3)
    indices, weights = torch.tensor([0, 2]), torch.tensor([0.7, 0.4], dtype=torch.float64)
    value, grads = target.value_and_grad(params, indices, weights)
    assert grads["unused"] is None
    generator = torch.Generator().manual_seed(0)
    direction = {
        k: torch.randn(v.shape, generator=generator, dtype=v.dtype) for k, v in params.items()
    }
    h = 1e-6
    up, down = (
        target.value_and_grad(
            {k: v + s * h * direction[k] for k, v in params.items()}, indices, weights
        )[0]
        for s in (1, -1)
    )
    slope = sum(float((g * direction[k]).sum()) for k, g in grads.items() if g is not None)
    assert float(up - down) / (2 * h) == pytest.approx(slope, rel=1e-6)
    assert float(value) == pytest.approx(
        float((weights * target.log_likelihood(params, [0, 2])).sum())
    )


def test_gradient_reaches_the_lower_layers_of_the_head_after_one_step(params):
    target = pair_target(2)
    params["head.2.weight"] += 0.01
    _, grads = target.value_and_grad(params, torch.tensor([0]), torch.ones(1))
    assert all(grads[k].abs().max() > 0 for k in params if k.startswith("head."))


def test_heads_start_at_the_base_value():
    head = head_parameters(6, torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(head_log_scale(head, torch.randn(5, 6).double()), torch.zeros(5).double())
    assert head["head.0.weight"].abs().min() > 0
    extreme = head | {"head.2.bias": torch.full((1,), 1e4).double()}
    assert math.isfinite(float(head_log_scale(extreme, torch.ones(1, 6).double()).exp()))


def test_batches_are_cached_and_bounded():
    target = pair_target(6)
    target.cache_size = 3
    assert target.batch([0, 1])[0] is target.batch([0, 1])[0]
    for i in range(6):
        target.batch([i])
    assert len(target._cache) == 3


def test_labels_that_are_broken_are_refused():
    potential = PairPotential()
    graph, scales = potential.graph(argon(0)), LikelihoodScales(0.01)
    forces = np.zeros((4, 3))
    with pytest.raises(ValueError, match="not finite"):
        PotentialTarget(potential, [graph], [math.nan], [forces], None, scales)
    with pytest.raises(ValueError, match="shape"):
        PotentialTarget(potential, [graph], [0.0], [np.zeros(4)], None, scales)
    with pytest.raises(ValueError, match="as many"):
        PotentialTarget(potential, [graph], [0.0, 1.0], [forces], None, scales)
    with pytest.raises(ValueError, match="atoms"):
        PotentialTarget(potential, [graph], [0.0], [np.zeros((5, 3))], None, scales).batch([0])
    with pytest.raises(ValueError, match="energy_std"):
        LikelihoodScales(0.0)


def test_fingerprint_depends_on_the_labels():
    assert pair_target(3).fingerprint() == pair_target(3).fingerprint()
    assert pair_target(3).fingerprint() != pair_target(3, noise_seed=1).fingerprint()


def test_errors_of_labels(params):
    target = pair_target(20)  # more than are evaluated together
    errors = target.errors(params)
    assert errors.stress.shape == (20, 3, 3)
    assert errors.species.tolist() == 80 * [18]
    for i in (0, 19):
        batch, labels = target.batch([i])
        found = target.potential.evaluate(params, batch, stress=True)
        force = (found.forces - labels.forces).detach()
        assert float(errors.energy[i]) == pytest.approx(float(found.energy - labels.energy))
        assert torch.allclose(errors.forces[4 * i : 4 * i + 4], force)
        assert torch.allclose(errors.stress[i], (found.stress - labels.stress)[0].detach())
        assert torch.allclose(target.errors(params, [i]).forces, force)


def test_rows_are_derivatives_by_the_last_layer(params):
    """The last layer of this potential is linear: errors of labels move by the rows."""
    target = pair_target(3)
    energy = target.summed_features(params)[[0, 2]]
    force, stress = target.rows(params, [0, 2])
    assert energy.shape == (2, 6)
    assert force.shape == (24, 6)
    assert stress.shape == (18, 6)
    change = torch.randn(6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    moved = params | {"w2": params["w2"] + change}
    before, after = (target.errors(p, [0, 2]) for p in (params, moved))
    assert torch.allclose(energy @ change, after.energy - before.energy)
    expected = (after.forces - before.forces).flatten()
    assert torch.allclose(force @ change, expected, atol=1e-5)
    expected = (after.stress - before.stress).flatten()
    assert torch.allclose(stress @ change, expected, atol=1e-5)
