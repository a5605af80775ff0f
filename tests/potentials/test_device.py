"""Ready for a GPU, checked without one.

Under `FakeTensorMode` tensors have shapes and a device, and no values: operations that mix devices
or look at values on the host are errors.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from onfly.potentials import load_foundation

CUDA = torch.device("cuda", 0)


def moved(value, mode):
    """Return a copy of what a potential holds, with tensors of `meta` on the fake GPU."""
    if isinstance(value, torch.nn.Module):
        for module in value.modules():
            for held in (module._parameters, module._buffers):
                held.update({k: moved(t, mode) for k, t in held.items() if t is not None})
            for name, other in list(vars(module).items()):
                if isinstance(other, torch.Tensor):
                    vars(module)[name] = moved(other, mode)
        return value
    if isinstance(value, torch.Tensor):
        # What was forgotten on the host stays there, and shows.
        if value.device.type == "meta":
            return FakeTensor(mode, value.detach(), CUDA)
        return mode.from_tensor(value)
    if isinstance(value, dict):
        return {key: moved(other, mode) for key, other in value.items()}
    return value


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


def test_everything_happens_on_the_gpu(what, crystal, water):
    potential = load_foundation(what, elements=["Na", "Cl", "H", "O"], device="meta")
    mode = FakeTensorMode()
    for name, value in list(vars(potential).items()):
        setattr(potential, name, moved(value, mode))
    potential.device = CUDA
    with mode:
        params = {n: t.requires_grad_() for n, t in potential.parameters().items()}
        assert {t.device for t in params.values()} == {CUDA}
        batch = potential.collate([potential.graph(atoms) for atoms in (crystal, water)])
        for training in (False, True):
            found = potential.evaluate(params, batch, stress=True, training=training)
            tensors = (found.energy, found.forces, found.stress, found.features)
            assert {t.device for t in tensors} == {CUDA}
            assert [tuple(t.shape) for t in tensors[:3]] == [(2,), (11, 3), (2, 3, 3)]
        loss = found.energy.sum() + found.forces.square().sum() + found.stress.square().sum()
        gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        assert {g.device for g in gradients if g is not None} == {CUDA}
        assert sum(g is not None for g in gradients) > 0.9 * len(params)


class Synchronisations(TorchDispatchMode):
    """Counts the operations that make the host wait for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        if name.startswith(self.WAITING):
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
