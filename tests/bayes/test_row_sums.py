from __future__ import annotations

import functools

import pytest
import torch
from safetensors.torch import load, save
from targets import PairPotential, pair_target

from onfly.bayes import LastLayerPosterior
from onfly.bayes.row_sums import RowSums


def members(*shifts):
    """Weights of the pair potential, moved."""
    found = []
    for shift in shifts:
        params = PairPotential().parameters()
        found.append({name: value + shift for name, value in params.items()})
    return found


def expected(target, params, labels):
    """Sums by the definition, of rows that are made one label at a time."""
    rows = [target.rows(params, [i]) for i in labels]
    return [sum(part.T @ part for part in kind) for kind in zip(*rows, strict=True)]


def test_rows_of_new_labels_are_added_to_those_that_are_there():
    old, new = members(0.0, 0.1)
    first = RowSums.updated(None, pair_target(4), [old])
    assert (first.n_labels, first.n_fresh) == (4, 4)
    target = pair_target(7)
    second = RowSums.updated(first, target, [new])
    assert (second.n_labels, second.n_fresh) == (7, 4)
    kept, added = expected(target, old, range(4)), expected(target, new, range(4, 7))
    assert torch.allclose(second.forces[0], kept[0] + added[0])
    assert torch.allclose(second.stress[0], kept[1] + added[1])


def test_an_update_without_new_labels_keeps_them():
    (old, new) = members(0.0, 0.1)
    first = RowSums.updated(None, pair_target(4), [old])
    again = RowSums.updated(first, pair_target(4), [new])
    assert torch.equal(again.forces, first.forces)


@pytest.mark.parametrize(
    ("n_labels", "options", "n_members"),
    [(8, {}, 1), (3, {}, 1), (5, {"noise_seed": 1}, 1), (5, {}, 2)],
    ids=["twice the labels", "fewer labels", "other labels", "other members"],
)
def test_all_rows_are_made_anew(n_labels, options, n_members):
    old, *new = members(0.0, *(0.1 * (k + 1) for k in range(n_members)))
    first = RowSums.updated(None, pair_target(4), [old])
    target = pair_target(n_labels, **options)
    second = RowSums.updated(first, target, new)
    assert (second.n_labels, second.n_fresh) == (n_labels, n_labels)
    for member, params in enumerate(new):
        forces, _ = expected(target, params, range(n_labels))
        assert torch.allclose(second.forces[member], forces)


def test_they_survive_a_file():
    sums = RowSums.updated(None, pair_target(3), members(0.0))
    read = RowSums.read(load(save(sums.tensors())))
    assert read is not None
    assert torch.equal(read.forces, sums.forces)
    assert (read.n_labels, read.n_fresh, read.digest) == (3, 3, sums.digest)
    assert RowSums.read({}) is None


def test_a_posterior_goes_on_from_them_or_not():
    def after(keep_rows):
        posterior = LastLayerPosterior(n_steps=40, step_size=1e-2, keep_rows=keep_rows)
        state = posterior.initial(PairPotential(), ("rows",))
        for generation, n_labels in enumerate((3, 4), start=1):
            state, _ = posterior.update(
                state,
                functools.partial(pair_target, n_labels),
                seed_key=("rows",),
                generation=generation,
                n_new=1,
            )
        return state

    kept, anew = after(True), after(False)
    assert kept.extra["row_counts"].tolist() == [4, 3]
    assert anew.extra["row_counts"].tolist() == [4, 4]
    # the weights do not depend on the Gaussian
    assert all(torch.equal(kept.members[0][k], anew.members[0][k]) for k in kept.members[0])
    ratio = kept.extra["factor"].diagonal(dim1=1, dim2=2) / anew.extra["factor"].diagonal(
        dim1=1, dim2=2
    )
    assert (ratio != 1).any()
    assert ((ratio > 0.8) & (ratio < 1.25)).all()
