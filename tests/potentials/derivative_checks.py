"""Comparison of two functions by their values and first and second derivatives."""

from __future__ import annotations

import torch

N = 5


def derivatives(function, x, parameters=()):
    """Return a value with its first and second derivatives, which are not all zero."""
    value = function(x)
    (first,) = torch.autograd.grad((value**3).sum(), x, create_graph=True)
    return value, first, *torch.autograd.grad(first.square().sum(), [x, *parameters])


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert other.abs().max() > 1e-6
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-9)


def rows(width):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, width, generator=generator, dtype=torch.float64).requires_grad_()
