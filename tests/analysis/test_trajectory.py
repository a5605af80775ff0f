from __future__ import annotations

import ase.io
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from onfly.analysis.trajectory import read_trajectory


def write(folder, segment, steps):
    frames = []
    for step in steps:
        atoms = bulk("Cu", cubic=True)
        atoms.info = {"step": step, "segment": segment}
        atoms.calc = SinglePointCalculator(atoms, energy=float(step), forces=atoms.positions)
        frames.append(atoms)
    (folder / "trajectory").mkdir(exist_ok=True)
    ase.io.write(folder / "trajectory" / f"{segment:05d}.extxyz", frames, format="extxyz")


def test_a_later_segment_replaces_steps_that_were_taken_back(tmp_path):
    write(tmp_path, 0, [10, 20, 30])
    (tmp_path / "trajectory" / "00001.extxyz").write_text("")
    write(tmp_path, 2, [30, 40])
    frames = read_trajectory(tmp_path)
    assert [(a.info["step"], a.info["segment"]) for a in frames] == [
        (10, 0), (20, 0), (30, 2), (40, 2),
    ]  # fmt: skip
    assert frames[-1].get_potential_energy() == 40.0
    assert [a.info["step"] for a in read_trajectory(tmp_path, first_step=30)] == [30, 40]


def test_a_folder_without_one_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no trajectory"):
        read_trajectory(tmp_path)
