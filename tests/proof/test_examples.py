"""The examples in the docstrings, run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import onfly.proof

MODULES = [
    "onfly.proof",
    *(f"onfly.proof.{m.name}" for m in pkgutil.iter_modules(onfly.proof.__path__)),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_most_modules_have_examples():
    finder = doctest.DocTestFinder()
    with_examples = [
        name
        for name in MODULES
        if any(test.examples for test in finder.find(importlib.import_module(name)))
    ]
    assert len(with_examples) >= 8


def test_all_public_names_exist():
    assert all(hasattr(onfly.proof, name) for name in onfly.proof.__all__)
