"""A path between two minima in the loop: labels that decide, learning, and the barrier."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.dynamics.neb import interpolated
from onfly.rounds.results import barrier_document
from tests.rounds.conftest import emt_label, off

NEB = {"driver": "neb", "n_steps": 60, "fmax": 0.1}


def hop(n_images=3):
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
        images = hop(settings.pop("images", 3))
        settings = {"threshold": 0.5, "walkers": len(images)} | settings
        return loop(wrong, images, run_id, stages=[stage], **settings)

    return build


def test_a_barrier_is_proven_by_its_labels(path):
    run = path()
    run.until("explore")
    assert run.ledger.counts() == {"initial": 2}
    run.step()
    # both ends and the saddle are labelled side by side
    assert [(r.trajectory, r.reason) for r in run.state.due] == [(k, "deciding") for k in (0, 1, 2)]
    model = run.verdict()
    assert model.state == "ready", model.verdict["sentence"]
    assert model.verdict["sentence"].startswith("Ready: both ends of the path and its saddle")
    doc = barrier_document(run.session, run.state)
    labels = [emt_label(image.structure) for image in doc.images]
    assert doc.forward.labelled == pytest.approx(labels[1].energy - labels[0].energy)
    assert doc.backward.labelled == pytest.approx(labels[1].energy - labels[2].energy)
    assert np.linalg.norm(labels[1].forces, axis=1).max() == pytest.approx(doc.saddle_force)
    assert doc.saddle_force <= 0.1
    assert doc.images[0].length == 0.0


def test_images_where_the_criterion_fires_are_labelled_beside(path):
    run = path(images=5, threshold=0.1, max_probability=1e-9, stage={"calls": True})
    run.until("publish", limit=200)
    fired = [e for e in run.ledger.of("uncertain") if 0 < e.trajectory < 4]
    saddles = [e for e in run.ledger.of("deciding") if 0 < e.trajectory < 4]
    assert fired
    assert {e.generation for e in fired} <= {e.generation for e in saddles}


def test_a_saddle_that_is_wrong_is_learned_and_the_band_goes_on(path):
    seen = []

    def once(request, answer):
        if request.reason == "deciding" and request.trajectory == 1 and not seen:
            seen.append(request)
            return off("deciding", energy=1.0)(request, answer)
        return answer

    run = path(once)
    run.until("publish")
    saddles = [e for e in run.ledger.of("deciding") if e.trajectory == 1]
    assert len(saddles) > 1
    assert not saddles[0].within()
    assert len({e.generation for e in saddles}) == len(saddles)
    for k in (0, 2):  # ends that are decided stay, and later weights are judged there as well
        ends = [e for e in run.ledger.of("deciding") if e.trajectory == k]
        assert ends[-1].within()
        assert ends[-1] == [e for e in run.ledger.entries if e.trajectory == k][-1]
        if ends[-1].generation < saddles[-1].generation:
            assert "ends" in saddles[-1].errors


def test_two_structures_are_enough(loop):
    images = hop(3)
    run = loop(None, [images[0], images[-1]], stages=[NEB], threshold=0.5, walkers=3)
    run.step()
    assert len(run.state.trajectories) == 3
    with pytest.raises(ValueError, match="both ends, or all its 3 images"):
        loop(None, [images[0]], "other", stages=[NEB], walkers=3).step()
