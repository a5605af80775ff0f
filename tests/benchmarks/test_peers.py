from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT


def test_default_beside_a_set_drawn_beforehand(run_benchmark, tmp_path):
    arguments = ("peers.py", "--steps", "20", "--resume", tmp_path / "runs")
    arguments += ("--settings", "teacher,untuned,default,drawn", "--fresh", "20")
    rows = run_benchmark(*arguments)
    found = {row["settings"]: row for row in rows}
    assert list(found) == ["teacher", "untuned", "default", "drawn"]
    teacher, untuned, default = found["teacher"], found["untuned"], found["default"]
    assert teacher["fresh_true"] == 1
    assert teacher["force_rmse_mev"] < 0.01 < untuned["force_rmse_mev"]
    # as many labels as the default before its proof, and it learns of the system
    drawn = found["drawn"]
    assert drawn["labels"] == default["labels_before"]
    assert drawn["calls"] == 0
    assert "verdict" not in drawn
    assert drawn["force_rmse_mev"] < untuned["force_rmse_mev"]
    assert default["verdict"] in ("ready", "needs more audits", "stopped")
    assert drawn["waits"] == 1
    assert drawn["chain_steps"] == default["chain_steps"]
    assert 0 < untuned["structure"] < 2
    # nothing is done again
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.npz")}
    again = run_benchmark(*arguments)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.npz")} == written
    for row, other in zip(rows, again, strict=True):
        assert {k: v for k, v in row.items() if k != "wall_s"} == {
            k: v for k, v in other.items() if k != "wall_s"
        }


def test_a_committee_asks_where_it_disagrees(run_benchmark):
    asked = []
    for value in ("0.01", "1e3"):
        (row,) = run_benchmark(
            "peers.py", "--settings", "committee", "--steps", "6", "--fresh", "10",
            "--force-std", value,
        )  # fmt: skip
        assert row["labels"] == 1 + row["calls"]
        assert row["updates"] == row["labels"]
        asked.append(row["calls"])
    assert asked[0] > 0
    assert asked[1] == 0


def test_the_paper_is_extrapolated_from_the_cost_of_a_step(run_benchmark):
    (row,) = run_benchmark(
        "peers.py", "--settings", "paper", "--steps", "10", "--fresh", "10",
        "--paper-chains", "2", "3",
    )  # fmt: skip
    assert row["chain_steps"] == 2 * 20 * row["updates"]
    expected = row["cpu_update_s"] / row["chain_steps"] * 16000 * row["updates"]
    assert row["cpu_full_s"] == pytest.approx(expected)


def test_settings_that_need_the_default_say_so(run_benchmark):
    for name in ("interval", "drawn"):
        with pytest.raises(SystemExit, match="as many labels as 'default'"):
            run_benchmark("peers.py", "--settings", name, "--steps", "5")
    with pytest.raises(SystemExit):
        run_benchmark("peers.py", "--settings", "dpgen")


def test_model_deviation_is_that_of_dpgen(import_benchmark):
    """sqrt(⟨|F_i - ⟨F_i⟩|²⟩), the mean over the members, the largest over the atoms."""
    from onfly.bayes.ensemble import force_moments
    from onfly.dynamics.criteria import Calibrations
    from onfly.dynamics.predictor import StepPrediction

    criterion = import_benchmark("peers_committee").MaxForceStd
    forces = np.random.default_rng(0).normal(size=(4, 5, 3))
    deviation = np.sqrt(np.square(forces - forces.mean(0)).sum(2).mean(0))
    std = np.sqrt(force_moments(torch.tensor(forces))[1].numpy())
    prediction = StepPrediction(0.0, 0.0, forces.mean(0), std, None)
    for value, fires in ((0.999 * deviation.max(), True), (1.001 * deviation.max(), False)):
        found = criterion(value=value).assess(prediction, Calibrations())
        assert found.fires is fires
        assert found.where == (int(deviation.argmax()),)


def test_members_of_a_committee_start_apart(import_benchmark):
    from onfly.potentials import load_foundation

    potential = load_foundation("toy", elements=("Cu",))
    committee = import_benchmark("peers_committee").CommitteePosterior
    state = committee(jitter=0.05).initial(potential, ("key",))
    again = committee(jitter=0.05).initial(potential, ("key",))
    pretrained = potential.parameters()["hidden.weight"]
    moved = [m["hidden.weight"] - pretrained for m in state.members]
    assert len(moved) == 4
    for number, one in enumerate(moved):
        relative = one.square().mean().sqrt() / pretrained.square().mean().sqrt()
        assert 0.03 < float(relative) < 0.07
        assert torch.equal(state.members[number]["hidden.weight"], pretrained + one)
        same = again.members[number]["hidden.weight"]
        assert torch.equal(state.members[number]["hidden.weight"], same)
    assert not torch.equal(moved[0], moved[1])


def test_distance_of_structures(import_benchmark):
    check = import_benchmark("peers_check")
    frames = []
    for seed in range(4):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=seed)
        frames.append(atoms)
    assert check.structure_distance(frames, frames) == 0
    wider = [Atoms(a.numbers, 1.1 * a.positions, cell=1.1 * a.cell.array, pbc=True) for a in frames]
    assert check.structure_distance(wider, frames) > 0.5
    molecules = [Atoms("CO", [[0, 0, 0], [0, 0, z]]) for z in (1.13, 1.25)]
    assert check.structure_distance(molecules, molecules[::-1]) == 0
    assert check.structure_distance(molecules[:1], molecules[1:]) == 2


def test_md_that_explodes_is_told(import_benchmark):
    check = import_benchmark("peers_check")

    class Pushing(EMT):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results["forces"] = 100 * np.sign(self.atoms.positions - 1.0)

    case = import_benchmark("truth_cases").CASES["toy"]
    frames, physical = check.moved(Pushing(), case, 50, ("toy", 0))
    assert not physical
    assert len(frames) < 20
