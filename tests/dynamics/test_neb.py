"""A band on the toy potential: interpolation, the saddle, fixed ends, guards."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from onfly.dynamics.differences import energy_differences
from onfly.dynamics.guards import Guards
from onfly.dynamics.neb import interpolated, move_band, path_lengths
from onfly.dynamics.stages import MDStage
from onfly.dynamics.state import MDState


def ends():
    first = bulk("Cu", cubic=True) * (2, 1, 1)
    place = first.positions[0].copy()
    del first[0]
    last = first.copy()
    last.positions[0] = place
    return first, last


def states(n_images=5):
    return [
        MDState(
            numbers=a.numbers,
            pbc=a.pbc,
            positions=a.positions,
            momenta=np.zeros_like(a.positions),
            cell=a.cell.array,
            step=0,
            energy=0.0,
            forces=np.zeros_like(a.positions),
            stress=None,
            source="model",
        )
        for a in interpolated(*ends(), n_images)
    ]


def stage(**fields):
    return MDStage(**{"driver": "neb", "n_steps": 80, "fmax": 0.1} | fields)


def test_the_highest_image_is_a_saddle(make_predictor):
    predictor = make_predictor()
    before = states()
    band = move_band(predictor, before, stage(), Guards())
    assert band.converged
    assert band.saddle == 2
    assert 0 < band.n_steps <= 80
    for k in (0, -1):
        np.testing.assert_array_equal(band.states[k].positions, before[k].positions)
    images = [s.to_atoms() for s in band.states]
    mean, std = energy_differences(predictor, images)
    assert mean[0] == 0.0
    assert mean.argmax() == 2
    assert std[0] == 0.0
    assert (std[1:] > 0).all()
    top = predictor.predict(images[2], stress=False)
    assert np.linalg.norm(top.forces, axis=1).max() < 0.15
    assert mean[2] == pytest.approx(
        top.energy - predictor.predict(images[0], stress=False).energy, abs=1e-6
    )
    again = move_band(make_predictor(), before, stage(), Guards())
    for a, b in zip(band.states, again.states, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)


def test_a_guard_keeps_the_band_before(make_predictor):
    band = move_band(make_predictor(), states(3), stage(), Guards(min_distance=0.99))
    assert not band.converged
    assert "closer" in band.problem
    assert band.n_steps == 0


def test_the_shortest_way_leads_through_the_border():
    first, last = ends()
    last.positions[0] -= first.cell.array[0]
    direct = path_lengths(interpolated(*ends(), 5))
    images = interpolated(first, last, 5)
    np.testing.assert_allclose(path_lengths(images), direct, atol=1e-6)


def test_ends_of_other_cells_are_refused():
    first, last = ends()
    last.set_cell(1.1 * last.cell)
    with pytest.raises(ValueError, match="same cell"):
        interpolated(first, last, 5)
