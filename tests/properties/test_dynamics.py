from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from onfly.properties.dynamics import Dynamics, observables
from onfly.seeds import numpy_stream


def test_a_random_walk_diffuses_as_it_should():
    stream = numpy_stream("test", "walk")
    start = stream.uniform(0, 20, size=(60, 3))
    steps = stream.normal(scale=0.2, size=(400, 60, 3))
    places = start + np.cumsum(steps, axis=0)
    frames = [Atoms("Na30Cl30", positions=p, cell=[20.0] * 3, pbc=True) for p in places]
    found = observables(frames, interval_fs=5.0)
    # <Δx²> = 0.04 Å² in 5 fs: D = 0.04/(2·5) Å²/fs, times 0.1 in cm²/s
    for element in ("Na", "Cl"):
        assert found.values[f"D {element}"] == pytest.approx(4e-4, rel=0.3)


def test_a_crystal_stays(crystal):
    found = Dynamics(temperature=200.0, n_steps=200, interval=5, min_length=5.0).measure(
        crystal.calculator, crystal.atoms
    )
    assert found.values["g(r) first peak"] == pytest.approx(crystal.r0, abs=0.06)
    assert abs(found.values["D Cu"]) < 2e-5  # of a liquid: 3e-5 and more
    assert found.curves["g"].shape == found.curves["r"].shape


def test_the_same_seed_gives_the_same_numbers(crystal):
    settings = {"n_steps": 100, "interval": 4, "min_length": 3.0}
    once, again = (
        Dynamics(**settings).measure(crystal.calculator, crystal.atoms) for _ in range(2)
    )
    assert once.values == again.values
    other = Dynamics(**settings, seed=1).measure(crystal.calculator, crystal.atoms)
    assert once.values != other.values


def test_too_few_frames(crystal):
    with pytest.raises(ValueError, match="too few"):
        observables([crystal.atoms] * 3, 10.0)


def test_bad_settings():
    with pytest.raises(ValueError, match="temperature"):
        Dynamics(temperature=0.0)
