from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from PIL import Image


@pytest.fixture
def production(import_benchmark):
    """The script as a module."""
    return import_benchmark("production")


def test_models_are_compared_from_the_same_starts(run_benchmark, tmp_path):
    folder = tmp_path / "runs"
    run_benchmark("truth.py", "--steps", "20", "--resume", folder, "--set", "proof.attempts=0")
    arguments = ("production.py", "--resume", folder, "--figure", tmp_path / "production.png")
    rows = run_benchmark(*arguments)
    assert [row["model"] for row in rows] == ["foundation", "K = 0.692 kcal/mol", "teacher"]
    for row in rows:
        assert len(row["runs"]) == 2
        assert row["msd"] == pytest.approx(np.mean([run["msd"] for run in row["runs"]]))
        assert row["msd_se"] > 0
    assert "msd_p" not in rows[-1]
    assert all(0 <= row["msd_p"] <= 1 for row in rows[:-1])
    first = {p.stem.split("-")[0]: np.load(p)["positions"][0] for p in folder.rglob("*-0-0-*.npz")}
    # ten steps after the same start the models are still near each other, and not the same
    assert 0 < np.abs(first["foundation"] - first["teacher"]).max() < 0.1
    # nothing is done again
    written = [p.stat().st_mtime_ns for p in sorted(folder.rglob("*.npz"))]
    assert run_benchmark(*arguments) == rows
    assert [p.stat().st_mtime_ns for p in sorted(folder.rglob("*.npz"))] == written
    with Image.open(tmp_path / "production.png") as picture:
        assert len(picture.convert("RGB").getcolors(1000000)) > 10


def test_the_hydroxyl_group_of_ethanol_is_followed(production):
    atoms = molecule("CH3CH2OH")
    assert [atoms.symbols[k] for k in production.ROTOR] == ["H", "O", "C", "C"]
    frames = []
    for degrees in (180, 185, 60, 300, 120):
        atoms.set_dihedral(*production.ROTOR[::-1], degrees, indices=[3])
        frames.append(atoms.copy())
    found = production.observables(frames, production.CASES["ethanol-300"], np.zeros(3))
    assert found == {"trans": 0.4, "on_a_barrier": 0.2}


def test_a_jump_of_hydrogen_is_seen(production):
    case = production.CASES["cazrs3-h"]
    places = np.concatenate([np.full(60, 1.4), np.linspace(1.4, 2.6, 10), np.full(60, 2.6)])
    gap = [4.0 if k < 40 else 3.6 for k in range(len(places))]
    frames = [
        Atoms("SSH", [[0, 0, 0], [d, 0, 0], [x, 0, 0]], cell=[20, 20, 20], pbc=True)
        for x, d in zip(places, gap, strict=True)
    ]
    found = production.hydrogen(frames, case)
    assert found["jumps_per_ps"] == pytest.approx(1 / (len(frames) * case.time_step / 1000))
    # only the 50 fs before it count
    assert 3.6 <= found["S_S_before_jump"] < 3.85
    still = production.hydrogen(frames[:50], case)
    assert still["jumps_per_ps"] == 0
    assert np.isnan(still["S_S_before_jump"])
