"""Which settings a run may be taken up with, and where it goes on."""

from __future__ import annotations

import pytest

from onfly.proof import Ledger, LedgerEntry, ProofRule
from onfly.rounds.reopen import ReopenError, changes, reopen
from onfly.schemas import ArtifactRef, TrajectoryDoc
from onfly.testing.models import toy_run, toy_spec

NOWHERE = ArtifactRef(path="none", sha256="0" * 64, nbytes=0)


def run(phase="done", step=40, spec=None, **fields):
    """Return a run that has done `step` of 40 steps, and a trajectory's fields with ``t_``."""
    own = {k.removeprefix("t_"): fields.pop(k) for k in list(fields) if k.startswith("t_")}
    state = toy_run(spec=spec or toy_spec(), phase=phase, energy_offset=1.0, n_labels=5, **fields)
    trajectory = {"md_state": NOWHERE, "md_step": step, "n_steps": 40, "done": step >= 40}
    trajectory["time_fs"] = 2.0 * step
    return state.with_trajectories([TrajectoryDoc(**trajectory | own)])


def closed(n_failed=0):
    """Return a ledger with the first look of a closing block."""
    n = ProofRule().looks(0)[0].n
    entries = [LedgerEntry(index=0, trajectory=0, step=0, reason="initial", label="a")]
    for i in range(n):
        error = 0.2 if i < n_failed else 0.0
        entries.append(
            LedgerEntry(
                index=i + 1, trajectory=0, step=41 + i, reason="closing", label=str(i),
                generation=1, mean=0.0, std=0.1, error=error, errors={"energy": error / 0.1},
                attempt=0, look=0,
            )
        )  # fmt: skip
    ledger = Ledger()
    for entry in entries[:1]:
        ledger = ledger.append(entry)
    ledger = ledger.learned(1, 1)
    for entry in entries[1:]:
        ledger = ledger.append(entry)
    return ledger


def stages(*lengths, temperature=300.0):
    return [{"n_steps": n, "temperature": temperature, "time_step": 2.0} for n in lengths]


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ({"foundation_model": "chgnet-0.3.0"}, "foundation"),
        ({"labeller": {"name": "emt", "kwargs": {"asap_cutoff": True}}}, "labels.labeller"),
        ({"energy_key": "e_0_energy"}, "labels.energy_key"),
        ({"seed": 3}, "seed"),
        ({"walkers": 2}, "trajectories.walkers"),
        ({"stages": stages(30)}, "trajectories.stages"),
        ({"stages": stages(40, temperature=500.0)}, "trajectories.stages"),
    ],
)
def test_what_gives_labels_another_meaning_is_refused(setting, path):
    state = run(phase="explore")
    found = changes(state, toy_spec(**setting), Ledger())
    assert [c.path for c in found if c.refused] == [path]
    with pytest.raises(ReopenError, match=f"^{path}: "):
        reopen(state, toy_spec(**setting), Ledger())


def test_a_labeller_may_be_mended_before_its_first_label():
    spec = toy_spec(labeller={"name": "emt", "kwargs": {"asap_cutoff": True}})
    state = run(phase="label", step=0).evolve(energy_offset=None, n_labels=0)
    assert reopen(state, spec, Ledger()).posterior.spec == spec


def test_what_does_not_is_obeyed():
    spec = toy_spec(
        threshold=0.2, audit_interval=7, stopping={"max_labels": 50}, stages=stages(40, 20),
        calibration={"mode": "ema", "decay": 0.9},
    )  # fmt: skip
    state = reopen(run(phase="explore", step=10), spec, Ledger())
    assert state.phase == "explore"
    assert state.posterior.threshold_ev == 0.2
    assert (state.posterior.calibration.mode, state.posterior.calibration.decay) == ("ema", 0.9)
    assert state.trajectories[0].n_steps == 60
    assert state.posterior.spec == spec


def test_more_stages_go_on_behind_the_closing_block():
    # 40 steps of the programme, and a closing block of 30
    state = run(
        step=70, attempt=0, t_origin=40, t_origin_time_fs=80.0, t_programme_step=40, t_n_steps=70,
        t_done=True,
    )  # fmt: skip
    again = reopen(state, toy_spec(stages=stages(40, 25)), closed())
    (trajectory,) = again.trajectories
    assert again.phase == "explore"
    assert again.posterior.attempt is None
    assert (trajectory.origin, trajectory.n_steps, trajectory.done) == (30, 95, False)
    # the clock goes on: 30 steps of the block lie before the origin
    assert trajectory.origin_time_fs + 2.0 * 40 == trajectory.time_fs


def test_a_run_that_was_stopped_goes_on_and_its_failures_are_forgiven():
    spec = toy_spec(stopping={"max_labels": 5})
    state = run(
        "stopped", 20, spec=spec, stopped=True, stop_reason="the limit", n_failures=2,
        t_n_explosions=1,
    )  # fmt: skip
    with pytest.raises(ReopenError, match="max_labels is 5: raise it"):
        reopen(state, spec, Ledger())
    again = reopen(state, toy_spec(stopping={"max_labels": 9}), Ledger())
    assert again.phase == "explore"
    assert (again.posterior.stopped, again.posterior.stop_reason) == (False, None)
    assert again.n_failures == 0


def test_a_ready_run_has_nothing_to_go_on_with():
    state = run(step=70, attempt=0, t_programme_step=40, t_origin=40, t_n_steps=70)
    with pytest.raises(ReopenError, match="the run is ready"):
        reopen(state, toy_spec(), closed())


def test_a_proof_that_failed_may_be_tried_again():
    spec = toy_spec(proof={"attempts": 1, "steps": 40})
    state = run(step=70, spec=spec, attempt=0, t_programme_step=40, t_origin=40, t_n_steps=70)
    with pytest.raises(ReopenError, match=r"raise proof\.attempts"):
        reopen(state, spec, closed(n_failed=3))
    more = toy_spec(proof={"attempts": 2, "steps": 40})
    assert reopen(state, more, closed(n_failed=3)).phase == "close"


def test_a_tolerance_of_forces_that_is_new_has_no_atoms():
    energy, force = {"quantity": "energy", "value": 0.1}, {"quantity": "force", "value": 0.2}
    state, added = run(step=20, phase="explore"), toy_spec(tolerance=[energy, force])
    with pytest.raises(ReopenError, match="atoms of force were not chosen at the start; start a"):
        reopen(state, added, Ledger())
    known = run(
        step=20, phase="explore", spec=toy_spec(tolerance=[force]), tolerance_atoms={"force": (0,)}
    )
    larger = toy_spec(tolerance=[force | {"value": 0.3}])
    assert reopen(known, larger, Ledger()).posterior.spec.tolerance[0].value == 0.3


def test_what_was_proven_is_not_said_of_a_smaller_tolerance():
    state = run(step=70, attempt=0, t_programme_step=40, t_origin=40, t_n_steps=70)
    with pytest.raises(ReopenError, match="the proof so far is for the larger one"):
        reopen(state, toy_spec(threshold=0.05), closed())
    assert reopen(state, toy_spec(threshold=0.05), closed(n_failed=3)).phase == "close"
    with pytest.raises(ReopenError, match="a closing block was drawn for the old value"):
        reopen(state, toy_spec(proof={"coverage": 0.8, "steps": 40}), closed())
