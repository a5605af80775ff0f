from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms

from onfly.properties.production import production_properties
from onfly.seeds import numpy_stream


def walk(folder, scale, number, extra=False):
    """Write a production run in which atoms diffuse with <Δx²> = scale² in 5 fs."""
    stream = numpy_stream("test", "production", number)
    places = stream.uniform(0, 15, size=(40, 3))
    path = folder / "trajectories" / "000" / "trajectory"
    path.mkdir(parents=True)
    frames = []
    for step in range(0, 3000, 10):
        atoms = Atoms("Li40", positions=places, cell=[15.0] * 3, pbc=True)
        atoms.info |= {"step": step, "time_fs": 0.5 * step}
        frames.append(atoms)
        if extra and step == 500:  # a step that was labelled
            frames.append(atoms.copy())
            frames[-1].info |= {"step": step + 3, "time_fs": 0.5 * (step + 3)}
        places = places + stream.normal(scale=scale, size=places.shape)
    ase.io.write(path / "00000.extxyz", frames)
    return folder


def test_members_that_differ(tmp_path):
    scales = (0.10, 0.15, 0.20)
    folders = [walk(tmp_path / str(i), s, i, extra=i == 0) for i, s in enumerate(scales)]
    found = production_properties(folders, first_step=100, factor=2.0)
    diffusion = next(v for v in found.values if v.name == "D Li")
    expected = np.array([s**2 / (2 * 5.0) * 0.1 for s in scales])
    assert diffusion.unit == "cm²/s"
    assert diffusion.value == pytest.approx(expected.mean(), rel=0.25)
    assert diffusion.std == pytest.approx(2 * expected.std(ddof=1), rel=0.4)
    assert found.n_draws == 3
    assert len(found.curves["model"]["g"]) == len(found.curves["std"]["g"])


def test_one_run_has_no_spread(tmp_path):
    with pytest.raises(ValueError, match="two production runs"):
        production_properties([tmp_path])
