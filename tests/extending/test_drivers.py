"""A driver of another package moves the atoms of a run."""

from __future__ import annotations

import numpy as np
import pytest

from onfly.dynamics.drivers import driver_class
from onfly.jobs.resident import run_loop
from onfly.labels.presets import label_maker
from onfly.rounds.new import new_run
from onfly.session import Session

DESCENT = '''
"""Steepest descent: each step goes down the forces of the ensemble."""

from dataclasses import replace

from onfly.dynamics.driver import Finished, LabelRequest, Moved, StagedDriver


class Descent(StagedDriver):
    def __init__(self, predictor, stages, criterion, calibration, key, *, guards=None,
                 time_step=None, initial_volume=None, supplied=None, origin=0,
                 origin_time_fs=0.0):
        super().__init__(
            stages, time_step=time_step, origin=origin, origin_time_fs=origin_time_fs
        )
        self.predictor, self.criterion, self.calibration = predictor, criterion, calibration
        self.supplied = supplied

    def step(self, state):
        if state.step >= self.end:
            return state, Finished()
        stage = self.locate(state.step)[0]
        rate = self.stages[stage].ase_md_kwargs["rate"]
        atoms = state.to_atoms()
        atoms.positions += rate * state.forces
        moved = replace(state, positions=atoms.positions, step=state.step + 1)
        time = self.time_at(moved.step, atoms)
        if self.supplied is not None and self.supplied.fits(atoms):
            label = self.supplied
            return moved.with_results(label.energy, label.forces, None), Moved(time, stage)
        found = self.predictor.predict(
            atoms, stress=False, forces_std=self.criterion.needs_forces_std
        )
        judged = self.criterion.assess(found, self.calibration)
        if judged.fires:
            return state, LabelRequest("uncertain", atoms, state.step + 1, found, judged)
        moved = replace(moved, energy=found.energy, forces=found.forces, stress=None,
                        source="model")
        return moved, Moved(time, stage, found, judged)


no_driver = dict
'''
DOWN = {"n_steps": 8, "driver": "descent", "time_step": 1.0, "ase_md_kwargs": {"rate": 0.01}}


@pytest.fixture
def descent(install):
    install("driver_plugin", DESCENT, drivers="descent = driver_plugin:Descent\n"
            "broken = driver_plugin:no_driver\nmd = driver_plugin:Descent")  # fmt: skip


def run(spec, structure, run_id):
    state = new_run(spec, structure, run_id=run_id)
    return run_loop(state, [structure], label_maker("emt"))


def largest_force(state):
    (trajectory,) = state.trajectories
    arrays = Session().workspace(state.run_id).load_md_state(trajectory.md_state)
    return np.linalg.norm(arrays["forces"], axis=1).max()


def test_a_driver_from_outside_does_a_run(descent, spec, structure):
    state = run(spec(stages=[DOWN], audit_interval=2), structure, "down")
    assert state.phase == "publish"
    assert state.md_step == 8
    reasons = Session().open(state.posterior).ledger().counts()
    assert reasons["audit"] >= 1
    short = run(spec(stages=[{**DOWN, "n_steps": 1}]), structure, "short")
    assert largest_force(state) < largest_force(short)


def test_its_uncertain_steps_are_labelled(descent, spec, structure):
    unsure = spec(stages=[{**DOWN, "n_steps": 3}], threshold=0.1, max_probability=1e-9)
    state = run(unsure, structure, "unsure")
    assert state.md_step == 3
    assert Session().open(state.posterior).ledger().counts()["uncertain"] == 3


def test_the_driver_of_this_package_cannot_be_replaced(descent):
    from onfly.dynamics.driver import MDDriver

    assert driver_class("md") is MDDriver


def test_what_is_no_driver_is_refused_before_any_work(descent, spec, structure):
    with pytest.raises(ValueError, match=r"unknown driver 'ascent': use one of .*descent"):
        new_run(spec(stages=[{**DOWN, "driver": "ascent"}]), structure)
    with pytest.raises(TypeError, match="has no step, locate, time_at"):
        new_run(spec(stages=[{**DOWN, "driver": "broken"}]), structure)
    with pytest.raises(ValueError, match="one driver, not descent and md"):
        new_run(spec(stages=[DOWN, {"n_steps": 4}]), structure)
