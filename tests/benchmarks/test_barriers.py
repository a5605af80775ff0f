from __future__ import annotations

import pytest


def test_quick(run_benchmark):
    path, relaxation = run_benchmark("barriers.py")
    assert (path["what"], relaxation["what"]) == ("path", "relaxation")
    assert path["true_converged"]
    assert path["true_barrier"] > 0.5
    assert path["labels"] >= 5  # two at the start, both ends and the saddle
    assert path["ratio"] == pytest.approx(path["labels"] / path["true_calls"])
    # what is labelled is the labeller's own barrier, which the toy potential alone misses
    assert abs(path["labelled_error"]) < 0.01
    assert abs(path["foundation_error"]) > 0.05
    assert path["saddle_force"] < 0.05
    assert abs(relaxation["labelled_above"]) < 0.005
    assert relaxation["force"] < 0.02 < relaxation["foundation_force"]
    assert abs(relaxation["volume"]) < abs(relaxation["foundation_volume"])
