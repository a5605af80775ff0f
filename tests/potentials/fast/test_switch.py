"""With and without onfly's kernels a model gives the same results."""

from __future__ import annotations

import logging

import pytest
import torch

from onfly.potentials import evaluate_stacked, load_foundation, stack_parameters
from onfly.potentials.fast import VARIABLE, fast_kernels_wanted, report_replacements
from onfly.potentials.fast.e3nn_maps import LinearMap
from onfly.testing.models import random_mace


def sources(request, tmp_path):
    if request.param == "sevennet":
        pytest.importorskip("sevenn")
        return "sevennet-0"
    pytest.importorskip("mace", exc_type=ImportError)
    options = {"distance_transform": "Agnesi", "pair_repulsion": True}
    kinds = {
        "mace": ("RealAgnosticResidualInteractionBlock", {}),
        "mace-density": ("RealAgnosticDensityResidualInteractionBlock", options),
    }
    block, more = kinds[request.param]
    path = random_mace(tmp_path / "m.model", block=block, **more)
    return {"family": "mace", "source": path, "options": {"trust_pickle": True}}


@pytest.fixture(params=["mace", "mace-density", pytest.param("sevennet", marks=pytest.mark.nequip)])
def source(request, tmp_path):
    return sources(request, tmp_path)


def evaluate(potential, systems, params=None, training=False):
    batch = potential.collate([potential.graph(atoms) for atoms in systems])
    params = potential.parameters() if params is None else params
    return potential.evaluate(params, batch, stress=True, training=training), batch


def test_same_results_with_and_without(source, crystal, water):
    fast, plain = (
        load_foundation(source, dtype=torch.float64, fast_kernels=wanted)
        for wanted in (True, False)
    )
    assert (fast.has_table, plain.has_table) == (True, False)
    assert list(fast.parameters()) == list(plain.parameters())
    systems = [crystal, water]
    one, other = (evaluate(p, systems)[0] for p in (fast, plain))
    torch.testing.assert_close(one.energy, other.energy, atol=1e-8, rtol=1e-10)
    torch.testing.assert_close(one.forces, other.forces, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(one.stress[:1], other.stress[:1], atol=1e-9, rtol=1e-8)
    torch.testing.assert_close(one.features, other.features, atol=1e-8, rtol=1e-8)
    gradients = []
    for potential in (fast, plain):
        params = {n: t.requires_grad_() for n, t in potential.parameters().items()}
        found, _ = evaluate(potential, systems, params, training=True)
        loss = found.energy.sum() + found.forces.square().sum()
        gradients.append(torch.autograd.grad(loss, list(params.values())))
    for mine, theirs in zip(*gradients, strict=True):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(mine, theirs, atol=1e-7 * max(scale, 1.0), rtol=1e-7)


def test_members_can_be_stacked_without(source, crystal):
    potential = load_foundation(source, dtype=torch.float64, fast_kernels=False)
    members = [potential.parameters(), {n: 1.01 * t for n, t in potential.parameters().items()}]
    each = [evaluate(potential, [crystal], m)[0] for m in members]
    batch = potential.collate([potential.graph(crystal)])
    stacked = evaluate_stacked(potential, stack_parameters(members), batch)
    torch.testing.assert_close(stacked.energy, torch.stack([p.energy for p in each]))
    forces = torch.stack([p.forces for p in each])
    torch.testing.assert_close(stacked.forces, forces, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("source", ["mace"], indirect=True)
def test_variable_is_read_when_a_model_is_loaded(source, monkeypatch, caplog):
    def kernels():
        potential = load_foundation(source)
        return any(isinstance(m, LinearMap) for m in potential._energy.modules())

    with caplog.at_level(logging.INFO, "onfly.potentials.fast"):
        assert kernels()
        assert [r.levelname for r in caplog.records] == ["INFO"]
        assert f"{VARIABLE}=0 switches them off" in caplog.text
        caplog.clear()
        monkeypatch.setenv(VARIABLE, "0")
        assert not kernels()
        assert not caplog.records


def test_what_the_caller_says_comes_first(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert fast_kernels_wanted()
    for off in ("0", "false", "OFF", " no "):
        monkeypatch.setenv(VARIABLE, off)
        assert not fast_kernels_wanted()
        assert fast_kernels_wanted(True)
    monkeypatch.setenv(VARIABLE, "1")
    assert not fast_kernels_wanted(False)


def test_what_stays_the_packages_own_is_a_warning(caplog):
    with caplog.at_level(logging.INFO, "onfly.potentials.fast"):
        report_replacements("m", 3, ["readouts.0.linear (a bias)"])
    assert [r.levelname for r in caplog.records] == ["INFO", "WARNING"]
    assert "readouts.0.linear (a bias)" in caplog.text
