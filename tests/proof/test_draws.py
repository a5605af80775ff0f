"""The draw of audited steps: a simple random sample, for every look on its own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from onfly.proof import ProofRule, draw_block, draw_steps
from onfly.seeds import numpy_stream

LOOKS = ProofRule().looks(0)


def test_steps_differ_and_ascend():
    steps = draw_steps(numpy_stream("a"), 500, 29)
    assert len(steps) == len(set(steps)) == 29
    assert list(steps) == sorted(steps)
    assert steps[0] >= 0
    assert steps[-1] < 500


def test_the_same_stream_gives_the_same_steps():
    assert draw_steps(numpy_stream("a", 1), 500, 29) == draw_steps(numpy_stream("a", 1), 500, 29)
    assert draw_steps(numpy_stream("a", 1), 500, 29) != draw_steps(numpy_stream("a", 2), 500, 29)


def test_all_steps_may_be_drawn():
    assert draw_steps(numpy_stream("b"), 29, 29) == tuple(range(29))


def test_a_short_block_is_refused():
    with pytest.raises(ValueError, match="make the closing block longer"):
        draw_block(numpy_stream("b"), 56, LOOKS)


@pytest.mark.parametrize("look", [0, 1])
def test_every_look_is_a_draw_from_the_whole_block(look):
    rng = np.random.default_rng(3)
    counts = np.zeros(60)
    for _ in range(2000):
        parts = draw_block(rng, 60, LOOKS)
        assert len(set(parts[0]) | set(parts[1])) == LOOKS[-1].n
        counts[list(parts[look])] += 1
    # a first look at the early steps of the draw would give a p-value of 0
    assert chisquare(counts).pvalue > 1e-4
