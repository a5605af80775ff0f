"""Stages that relax or look for a path."""

from __future__ import annotations

import pytest

from onfly.spec import MDStage, RunSpec


def spec(*stages, **settings):
    content = {"threshold": "50 meV", "stages": list(stages), **settings}
    return RunSpec.from_flat(content, units_required=True)


def test_a_relaxation_in_a_file():
    found = spec({"driver": "relax", "fmax": "20 meV/Å", "cell": True, "n_steps": 200})
    (stage,) = found.trajectories.stages
    assert (stage.resolved_fmax, stage.cell, stage.temperature) == (0.02, True, None)
    assert stage.searches
    assert stage.needs_stress
    assert RunSpec.from_flat(found.to_flat()) == found
    assert RunSpec.from_flat(found.to_flat(defaults=True)) == found


def test_defaults_of_the_drivers():
    relax, neb = MDStage(5, driver="relax"), MDStage(5, driver="neb")
    assert (relax.resolved_fmax, relax.resolved_optimizer) == (0.02, "bfgs")
    assert (neb.resolved_fmax, neb.resolved_optimizer) == (0.05, "fire")
    assert relax.resolved_decisions == 10
    assert not neb.needs_stress
    assert not MDStage(5).searches


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"driver": "relax", "temperature": 300}, "has no temperature"),
        ({"driver": "relax", "time_step": 1.0}, "time_step has no meaning"),
        ({"driver": "relax", "climb": False}, "climb has no meaning"),
        ({"driver": "relax", "pressure": 1.0}, "without `cell: true`"),
        ({"driver": "relax", "fmax": "0.02 eV"}, "unknown unit"),
        ({"driver": "neb", "cell": True}, "cell has no meaning"),
        ({"fmax": "0.1 eV/Å"}, "fmax is a setting of the drivers relax and neb"),
    ],
)
def test_what_is_impossible_is_said(stage, words):
    with pytest.raises(ValueError, match=words):
        spec({"n_steps": 5, **stage}, walkers=5)


def test_a_search_has_one_stage():
    relax = {"driver": "relax", "n_steps": 5}
    with pytest.raises(ValueError, match="has one stage, not 2: make a run of its own"):
        spec(relax, {"n_steps": 5})
    with pytest.raises(ValueError, match="at least 3 images"):
        spec({"driver": "neb", "n_steps": 5}, walkers=2)
