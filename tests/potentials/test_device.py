"""Ready for a GPU, checked without one.

Tensors of the device `meta` have shapes and no values: operations that mix them with tensors on the
host, or look at values, are errors. (Fake tensors of CUDA cannot be indexed by torch's CPU build.)
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from onfly.potentials import load_foundation


def tensors_in(value):
    """Yield all tensors that a potential holds."""
    if isinstance(value, torch.nn.Module):
        for module in value.modules():
            yield from (t for t in module._parameters.values() if t is not None)
            yield from (t for t in module._buffers.values() if t is not None)
    elif isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for other in value.values():
            yield from tensors_in(other)


def source(family, request):
    names = {"toy": "toy", "chgnet": "chgnet-0.3.0"}
    if family != "mace":
        return names[family]
    path = request.getfixturevalue("mace_file")
    return {"family": "mace", "source": path, "options": {"trust_pickle": True}}


@pytest.fixture(params=["toy", "chgnet", "mace"])
def what(request):
    if request.param != "toy":
        pytest.importorskip(request.param, exc_type=ImportError)
    return source(request.param, request)


def test_a_tensor_on_the_host_shows(crystal):
    potential = load_foundation("toy", elements=["Na", "Cl"], device="meta")
    potential._centers = load_foundation("toy")._centers
    batch = potential.collate([potential.graph(crystal)])
    with pytest.raises(RuntimeError, match="device"):
        potential.evaluate(potential.parameters(), batch)


def test_everything_that_is_held_is_on_the_device(what):
    potential = load_foundation(what, elements=["Na", "Cl", "H", "O"], device="meta")
    held = [t for value in vars(potential).values() for t in tensors_in(value)]
    assert len(held) > 3
    assert {t.device.type for t in held} == {"meta"}


def test_forces_and_gradients_need_no_values(what, crystal, water):
    """On the device `meta`, which has no values either, with both reverse passes."""
    meta = torch.device("meta")
    potential = load_foundation(what, elements=["Na", "Cl", "H", "O"], device=meta)
    params = {n: t.requires_grad_() for n, t in potential.parameters().items()}
    batch = potential.collate([potential.graph(atoms) for atoms in (crystal, water)])
    for training in (False, True):
        found = potential.evaluate(params, batch, stress=True, training=training)
        tensors = (found.energy, found.forces, found.stress, found.features)
        assert {t.device for t in tensors} == {meta}
        assert [tuple(t.shape) for t in tensors[:3]] == [(2,), (11, 3), (2, 3, 3)]
    loss = found.energy.sum() + found.forces.square().sum() + found.stress.square().sum()
    gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    assert {g.device for g in gradients if g is not None} == {meta}
    assert sum(g is not None for g in gradients) > 0.9 * len(params)


class Synchronisations(TorchDispatchMode):
    """Counts the operations that make the host wait for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        masks = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        masked = any(m is not None and m.dtype in (torch.bool, torch.uint8) for m in masks)
        if masked or name.startswith(self.WAITING):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def test_counting_sees_what_waits():
    with Synchronisations() as counter:
        x = torch.arange(3.0)
        x[x > 1]
        float(x.sum())
    assert len(counter.found) == 2


def test_no_evaluation_waits_for_the_gpu(what, crystal, water):
    potential = load_foundation(what, dtype=torch.float64)
    graphs = [potential.graph(atoms) for atoms in (crystal, water)]
    params = {n: t.requires_grad_() for n, t in potential.parameters().items()}
    with Synchronisations() as counter:
        batch = potential.collate(graphs)
        potential.evaluate(params, batch, stress=True)
        found = potential.evaluate(params, batch, training=True)
        torch.autograd.grad(found.forces.square().sum(), list(params.values()), allow_unused=True)
    assert counter.found == []
