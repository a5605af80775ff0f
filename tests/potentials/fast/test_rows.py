from __future__ import annotations

import torch

from onfly.potentials.fast.rows import select_rows

INDEX = torch.tensor([2, 0, 2, 1, 2])


def test_derivatives_of_every_order():
    x = torch.randn(3, 2, 2, dtype=torch.float64).requires_grad_()
    assert torch.equal(select_rows(x, INDEX), x[INDEX])

    def function(x):
        return select_rows(x, INDEX).square()

    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


def test_stacks_are_those_of_each():
    x = torch.randn(4, 3, 2, dtype=torch.float64).requires_grad_()
    mapped = torch.func.vmap(select_rows, in_dims=(0, None))

    def derivatives(value):
        (first,) = torch.autograd.grad((value**3).sum(), x, create_graph=True)
        return value, first, torch.autograd.grad((first**3).sum(), x)[0]

    found, expected = derivatives(mapped(x, INDEX)), derivatives(x[:, INDEX])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    moved = torch.func.vmap(select_rows, in_dims=(1, None))(x.transpose(0, 1), INDEX)
    assert torch.equal(moved, found[0])
