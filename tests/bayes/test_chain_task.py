from __future__ import annotations

import pytest
from targets import linear_target

from onfly.bayes.chain_task import ChainSettings, ChainTask, run_chain, to_bytes


@pytest.mark.parametrize(
    ("batch_atoms", "n_atoms", "expected"),
    [(None, 1000, 5), (150, 20, 5), (150, 40, 3), (150, 150, 1), (150, 512, 1), (1, 1, 1)],
)
def test_large_labels_make_fewer_draws(batch_atoms, n_atoms, expected):
    assert ChainSettings(batch_atoms=batch_atoms).n_draws(n_atoms) == expected


@pytest.mark.parametrize("batch_atoms", [None, 6])
def test_a_chain_draws_as_many_labels_as_their_size_allows(batch_atoms):
    class Counted(type(linear_target())):
        def n_atoms(self, index):
            return 3 if index else 2

        def value_and_grad(self, params, indices, weights):
            drawn.append(len(indices))
            return super().value_and_grad(params, indices, weights)

    drawn: list[int] = []
    plain = linear_target()
    target = Counted(plain.x, plain.y, plain.noise_std, plain.n_copies)
    settings = ChainSettings(
        n_steps=30, batch_size=5, batch_atoms=batch_atoms, step_size=1e-3, prior_std=0.5
    )
    run_chain(target, ChainTask(settings, to_bytes(target.reference()), ("draws",), 0, 1))
    assert max(drawn) == (2 if batch_atoms else 5)
