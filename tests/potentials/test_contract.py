"""What every family of potentials must fulfil, run over all that are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from safetensors.torch import load_file, save_file

from onfly.bayes.heads import is_head
from onfly.potentials import Params, Potential, Prediction

STEP = 1e-4
# Random weights on the narrow radial functions of EquiformerV2 (0.04 Å) make a rough energy.
STEPS = {"equiformer_v2": 1e-5}
# EquiformerV2 evaluates functions on the sphere on a grid, which is turned with no configuration.
ROTATION = {"equiformer_v2": 1e-6}


def predict(potential: Potential, atoms: Atoms, params: Params | None = None, **what) -> Prediction:
    params = potential.parameters() if params is None else params
    return potential.evaluate(params, potential.collate([potential.graph(atoms)]), **what)


def energy(potential: Potential, atoms: Atoms) -> float:
    return predict(potential, atoms, forces=False).energy.item()


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def test_energy_is_extensive(potential, crystal):
    double = crystal.repeat((2, 1, 1))
    assert energy(potential, double) == pytest.approx(2 * energy(potential, crystal), abs=1e-8)


@pytest.mark.parametrize("system", ["crystal", "water"])
def test_forces_are_minus_the_derivative_of_the_energy(potential, system, request):
    atoms = request.getfixturevalue(system)
    forces = predict(potential, atoms).forces.numpy()
    direction = np.random.default_rng(0).normal(size=forces.shape)
    step = STEPS.get(potential.family, STEP)
    plus, minus = atoms.copy(), atoms.copy()
    plus.positions += step * direction
    minus.positions -= step * direction
    slope = (energy(potential, plus) - energy(potential, minus)) / (2 * step)
    assert slope == pytest.approx(-(forces * direction).sum(), rel=1e-5, abs=1e-6)
    assert forces.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-8)


def test_stress_is_the_derivative_by_strain_over_volume(potential, crystal):
    assert potential.supports_stress
    stress = predict(potential, crystal, stress=True).stress[0].numpy()
    strain = np.random.default_rng(1).normal(size=(3, 3))
    strain = 0.5 * (strain + strain.T)
    step = STEPS.get(potential.family, STEP)
    plus = energy(potential, strained(crystal, step * strain))
    minus = energy(potential, strained(crystal, -step * strain))
    slope = (plus - minus) / (2 * step) / crystal.get_volume()
    assert slope == pytest.approx((stress * strain).sum(), rel=1e-5, abs=1e-8)


def test_tension_is_positive(potential, crystal):
    stretched = strained(crystal, 0.02 * np.eye(3))
    pressed = strained(crystal, -0.10 * np.eye(3))
    if "random" in potential.name:
        pytest.skip("random weights have no equilibrium")
    at_tension = predict(potential, stretched, stress=True).stress[0].trace()
    at_pressure = predict(potential, pressed, stress=True).stress[0].trace()
    assert at_tension > at_pressure
    assert at_pressure < 0


@pytest.mark.parametrize("system", ["crystal", "water"])
def test_order_of_atoms_does_not_matter(potential, system, request):
    atoms = request.getfixturevalue(system)
    order = np.random.default_rng(2).permutation(len(atoms))
    one, other = predict(potential, atoms), predict(potential, atoms[order])
    torch.testing.assert_close(other.energy, one.energy)
    torch.testing.assert_close(other.forces, one.forces[order], atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(other.features, one.features[order], atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("system", ["crystal", "water"])
def test_rotation(potential, system, request):
    atoms = request.getfixturevalue(system)
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation)
    turned = atoms.copy()
    turned.set_cell(atoms.cell @ rotation)
    turned.positions = atoms.positions @ rotation
    stress = bool(atoms.pbc.all())
    one = predict(potential, atoms, stress=stress)
    other = predict(potential, turned, stress=stress)
    matrix = torch.as_tensor(rotation)
    torch.testing.assert_close(other.energy, one.energy)
    atol = ROTATION.get(potential.family, 1e-7)
    torch.testing.assert_close(other.forces, one.forces @ matrix, atol=atol, rtol=1e-6)
    torch.testing.assert_close(other.features, one.features, atol=atol, rtol=1e-6)
    if stress:
        expected = matrix.T @ one.stress[0] @ matrix
        torch.testing.assert_close(other.stress[0], expected, atol=1e-8, rtol=1e-6)


def test_translation_and_wrapping_change_nothing(potential, crystal):
    moved = crystal.copy()
    moved.positions += [3.1, -0.7, 12.0]
    wrapped = moved.copy()
    wrapped.wrap()
    reference = energy(potential, crystal)
    assert energy(potential, moved) == pytest.approx(reference, abs=1e-8)
    assert energy(potential, wrapped) == pytest.approx(reference, abs=1e-8)


def test_molecule_in_free_space_equals_molecule_in_a_large_box(potential, water):
    boxed = water.copy()
    boxed.set_cell([30.0, 31.0, 32.0])
    boxed.pbc = True
    free, periodic = predict(potential, water), predict(potential, boxed)
    torch.testing.assert_close(free.energy, periodic.energy)
    torch.testing.assert_close(free.forces, periodic.forces)


def test_batch_equals_singles(potential, crystal, water):
    other = crystal.copy()
    other.rattle(0.05, seed=7)
    systems = [crystal, water, other]
    batch = potential.collate([potential.graph(atoms) for atoms in systems])
    assert batch.n_atoms.tolist() == [8, 3, 8]
    assert batch.owner.tolist() == [0] * 8 + [1] * 3 + [2] * 8
    together = potential.evaluate(potential.parameters(), batch, stress=True)
    alone = [predict(potential, atoms, stress=atoms.pbc.all()) for atoms in systems]
    torch.testing.assert_close(together.energy, torch.cat([p.energy for p in alone]))
    forces = torch.cat([p.forces for p in alone])
    torch.testing.assert_close(together.forces, forces, atol=1e-8, rtol=1e-6)
    features = torch.cat([p.features for p in alone])
    torch.testing.assert_close(together.features, features, atol=1e-8, rtol=1e-6)
    for index in (0, 2):
        expected = alone[index].stress[0]
        torch.testing.assert_close(together.stress[index], expected, atol=1e-9, rtol=1e-6)
    assert together.stress[1].isnan().all()


def test_shapes_and_what_is_asked_for(potential, crystal):
    full = predict(potential, crystal, stress=True)
    assert full.energy.shape == (1,)
    assert full.energy.dtype == torch.float64
    assert full.forces.shape == (8, 3)
    assert full.stress.shape == (1, 3, 3)
    assert full.features.shape == (8, potential.n_features)
    assert not any(t.requires_grad for t in (full.energy, full.forces, full.stress, full.features))
    plain = predict(potential, crystal, forces=False)
    assert plain.forces is None
    assert plain.stress is None
    torch.testing.assert_close(plain.energy, full.energy)


def loss(potential: Potential, params: Params, batch) -> torch.Tensor:
    result = potential.evaluate(params, batch, stress=True, training=True)
    stress = result.stress[~result.stress.isnan().any(-1).any(-1)]
    squares = result.forces.square().sum() + 100 * stress.square().sum()
    return squares + result.energy.square().sum() * 1e-3 + result.features.sum() * 1e-3


def test_gradient_reaches_every_sampled_parameter(potential, crystal, water):
    batch = potential.collate([potential.graph(crystal), potential.graph(water)])
    params = {name: p.requires_grad_() for name, p in potential.parameters().items()}
    assert not set(params) & set(potential.fixed)
    gradients = torch.autograd.grad(
        loss(potential, params, batch), list(params.values()), allow_unused=True
    )
    unreached = [
        name
        for name, gradient in zip(params, gradients, strict=True)
        if gradient is None or not gradient.any() or not gradient.isfinite().all()
    ]
    assert unreached == []


def test_gradient_of_the_loss_is_its_derivative(potential, crystal, water):
    """Forces and stress in the loss need second derivatives: check them by differences."""
    batch = potential.collate([potential.graph(crystal), potential.graph(water)])
    params = {name: p.requires_grad_() for name, p in potential.parameters().items()}
    gradients = torch.autograd.grad(loss(potential, params, batch), list(params.values()))
    generator = torch.Generator().manual_seed(0)
    direction = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype)
        * p.detach().std().nan_to_num(0.1)
        for name, p in params.items()
    }
    expected = sum((g * d).sum().item() for g, d in zip(gradients, direction.values(), strict=True))
    step = 1e-5
    values = [
        loss(potential, {n: p.detach() + s * step * direction[n] for n, p in params.items()}, batch)
        for s in (1, -1)
    ]
    slope = (values[0] - values[1]).item() / (2 * step)
    assert slope == pytest.approx(expected, rel=2e-4)


def test_parameters_are_fresh_copies(potential, crystal):
    before = energy(potential, crystal)
    for tensor in potential.parameters().values():
        assert not tensor.requires_grad
        tensor.zero_()
    assert energy(potential, crystal) == before
    assert any(tensor.any() for tensor in potential.parameters().values())


def test_parameters_survive_a_safetensors_file(potential, crystal, tmp_path: Path):
    params = potential.parameters()
    save_file(params, tmp_path / "weights.safetensors")
    # Cloned because products round differently on the unaligned memory of a mapped file.
    mapped = load_file(tmp_path / "weights.safetensors")
    loaded = {name: tensor.clone() for name, tensor in mapped.items()}
    one, other = predict(potential, crystal, params), predict(potential, crystal, loaded)
    assert torch.equal(one.energy, other.energy)
    assert torch.equal(one.forces, other.forces)


def test_no_parameter_is_taken_for_one_of_an_uncertainty_head(potential):
    """Those are left out of the energy, and their prior is centred on zero."""
    assert not [name for name in potential.parameters() if is_head(name)]


def test_prior_scale_names_parameters(potential):
    assert set(potential.prior_scale()) <= set(potential.parameters())


def test_list_with_a_skin_gives_identical_results(potential, crystal):
    """Bit by bit, whether the neighbour search is reused (small moves) or repeated (large)."""
    params = potential.parameters()
    graph, atoms = None, crystal.copy()
    for seed in range(4):
        atoms.rattle(0.3 if seed == 3 else 0.05, seed=seed)
        graph = potential.updated_graph(graph, atoms, skin=0.6)
        reused = potential.evaluate(params, potential.collate([graph]), stress=True)
        fresh = predict(potential, atoms, params, stress=True)
        assert torch.equal(reused.energy, fresh.energy)
        assert torch.equal(reused.forces, fresh.forces)
        assert torch.equal(reused.stress, fresh.stress)


def test_single_atom_without_neighbours(potential):
    lone = predict(potential, Atoms("Na", positions=[[0, 0, 0]]))
    assert torch.isfinite(lone.energy).all()
    assert lone.forces.abs().max() == 0


def test_unknown_element_is_an_error(potential):
    with pytest.raises(ValueError, match=r"element|X"):
        potential.graph(Atoms("XNa", positions=[[0, 0, 0], [0, 0, 3]]))


def test_exploded_configuration_is_an_error(potential, crystal):
    crystal.positions[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        potential.graph(crystal)


def test_defaults_say_where_they_come_from(potential):
    defaults = potential.defaults
    assert defaults.prior_std > 0
    assert defaults.step_size > 0
    assert defaults.source
