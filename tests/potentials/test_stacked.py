from __future__ import annotations

import pytest
import torch

from onfly.potentials import EnsembleEvaluator, evaluate_stacked, stack_parameters

N_MEMBERS = 3


@pytest.fixture
def members(potential):
    generator = torch.Generator().manual_seed(0)
    return [
        {
            name: p + 0.01 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
            for name, p in potential.parameters().items()
        }
        for _ in range(N_MEMBERS)
    ]


@pytest.fixture
def batch(potential, crystal, water):
    return potential.collate([potential.graph(crystal), potential.graph(water)])


def test_stacked_equals_one_after_another(potential, members, batch):
    if not getattr(potential, "can_stack", False):
        pytest.skip(f"{potential.family} cannot be stacked")
    one = EnsembleEvaluator(potential, members, "stacked").evaluate(batch, stress=True)
    other = EnsembleEvaluator(potential, members, "sequential").evaluate(batch, stress=True)
    for name in ("energy", "forces", "features"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(one.stress[:, 0], other.stress[:, 0], atol=1e-10, rtol=1e-7)
    assert one.stress[:, 1].isnan().all()
    assert (one.energy[0] != one.energy[1]).all()
    assert (one.forces[0] - one.forces[1]).abs().max() > 1e-6


def test_members_are_evaluated_as_the_potential_does(potential, members, batch):
    result = EnsembleEvaluator(potential, members, "sequential").evaluate(batch)
    assert result.energy.shape == (N_MEMBERS, 2)
    assert result.forces.shape == (N_MEMBERS, 11, 3)
    assert result.stress is None
    assert result.features.shape == (N_MEMBERS, 11, potential.n_features)
    for index, params in enumerate(members):
        alone = potential.evaluate(params, batch)
        assert torch.equal(alone.energy, result.energy[index])
        assert torch.equal(alone.forces, result.forces[index])


def test_auto_measures_both_and_records_the_faster(potential, members, batch):
    evaluator = EnsembleEvaluator(potential, members)
    first = evaluator.evaluate(batch)
    if not getattr(potential, "can_stack", False):
        assert evaluator.strategy == "sequential"
        return
    assert set(evaluator.seconds) == {"stacked", "sequential"}
    assert evaluator.strategy == min(evaluator.seconds, key=evaluator.seconds.get)
    fixed = EnsembleEvaluator(potential, members, evaluator.strategy)
    assert torch.equal(fixed.evaluate(batch).forces, first.forces)


def test_training_of_stacked_chains_gives_each_its_own_gradient(potential, members, batch):
    if not getattr(potential, "can_stack", False):
        pytest.skip(f"{potential.family} cannot be stacked")

    def gradients(params, run):
        leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
        result = run(potential, leaves, batch, training=True)
        loss = result.forces.square().sum() + 1e-3 * result.energy.square().sum()
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    stacked = gradients(stack_parameters(members), evaluate_stacked)
    for index, params in enumerate(members):
        alone = gradients(params, type(potential).evaluate)
        for name, gradient in alone.items():
            torch.testing.assert_close(stacked[name][index], gradient, atol=1e-8, rtol=1e-6)


def test_energy_only(potential, members, batch):
    for strategy in ("sequential", "auto"):
        result = EnsembleEvaluator(potential, members, strategy).evaluate(batch, forces=False)
        assert result.forces is None
        assert not result.energy.requires_grad


def test_later_changes_of_the_parameters_do_not_reach_the_ensemble(load):
    potential = load("toy")
    params = potential.parameters()
    evaluator = EnsembleEvaluator(potential, [params], "sequential")
    from ase import Atoms

    batch = potential.collate([potential.graph(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.8]]))])
    before = evaluator.evaluate(batch).energy
    params["readout.bias"] += 1.0
    assert torch.equal(evaluator.evaluate(batch).energy, before)


def test_bad_ensembles_are_errors(load):
    potential = load("toy")
    params = potential.parameters()
    with pytest.raises(ValueError, match="at least one"):
        EnsembleEvaluator(potential, [])
    other = {**params, "readout.bias": torch.zeros(2)}
    with pytest.raises(ValueError, match="differ"):
        EnsembleEvaluator(potential, [params, other])
    with pytest.raises(ValueError, match="unknown strategy"):
        EnsembleEvaluator(potential, [params], "fastest")


@pytest.mark.parametrize("strategy", ["sequential", "stacked", "auto"])
def test_mean_forces_are_the_mean_of_the_members(potential, members, batch, strategy):
    if strategy == "stacked" and not getattr(potential, "can_stack", False):
        pytest.skip(f"{potential.family} cannot be stacked")
    evaluator = EnsembleEvaluator(potential, members, strategy)
    each = EnsembleEvaluator(potential, members, "sequential").evaluate(batch, stress=True)
    mean = evaluator.evaluate(batch, stress=True, mean=True)
    assert mean.forces.shape == (1, 11, 3)
    assert mean.stress.shape == (1, 2, 3, 3)
    expected = each.forces.double().mean(0)
    torch.testing.assert_close(mean.forces[0].double(), expected, atol=1e-9, rtol=1e-7)
    expected = each.stress.double().mean(0)
    torch.testing.assert_close(mean.stress[0, 0].double(), expected[0], atol=1e-10, rtol=1e-7)
    # energies and features stay those of each member: the spread is needed at every step
    torch.testing.assert_close(mean.energy, each.energy, atol=1e-9, rtol=1e-7)
    assert mean.features.shape == each.features.shape
    again = evaluator.evaluate(batch, stress=True, mean=True)
    assert torch.equal(again.forces, mean.forces)
    assert torch.equal(again.energy, mean.energy)
