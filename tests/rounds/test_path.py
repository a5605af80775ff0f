"""A path between two minima in the loop: labels that decide, learning, and the barrier."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.dynamics.neb import interpolated

NEB = {"driver": "neb", "n_steps": 60, "fmax": 0.1}


def hop(n_images=5):
    """Return the images of a hop of a vacancy in seven atoms of copper."""
    first = bulk("Cu", cubic=True) * (2, 1, 1)
    place = first.positions[0].copy()
    del first[0]
    last = first.copy()
    last.positions[0] = place
    return [AseAtomsAdaptor.get_structure(image) for image in interpolated(first, last, n_images)]


@pytest.fixture
def path(loop):
    def build(wrong=None, run_id="r", **settings):
        stage = NEB | settings.pop("stage", {})
        images = hop(settings.pop("images", 5))
        settings = {"threshold": 0.2, "walkers": len(images)} | settings
        return loop(wrong, images, run_id, stages=[stage], **settings)

    return build


def test_a_barrier_is_found(path):
    run = path()
    model = run.verdict()
    print(run.phases, run.ledger.counts())
    print(model.state, model.verdict["sentence"], model.stop_reason)
    for e in run.ledger.entries: print(e.trajectory, e.step, e.reason, e.generation, e.error, e.errors)
