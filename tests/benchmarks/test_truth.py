from __future__ import annotations

import numpy as np
import pytest

SMALL_PROOF = ("--set", "proof.coverage=0.8", "--set", "proof.steps=30")


def test_quick(run_benchmark, tmp_path):
    folder = tmp_path / "runs"
    arguments = ("truth.py", "--steps", "40", "--resume", folder, "--seed", "1", *SMALL_PROOF)
    (row,) = run_benchmark(*arguments)
    assert row["case"] == "toy"
    parts = ("calls", "ahead", "warmup", "audits", "closing")
    assert row["labels"] == 1 + sum(row[part] for part in parts)
    assert row["steps"] >= 40
    for key in ("true", "true_run", "true_third1", "true_third3", "true_last"):
        assert 0 <= row[key] <= 1
    assert 0 <= row["foundation_true"] <= 1
    # what tuning gains
    assert row["rms_tuned_mev"] < row["rms_foundation_mev"]
    assert 0 < row["z_95"] < 10
    assert row["z_rms"] > 0
    assert -1 <= row["rank"] <= 1
    if row["verdict"] == "ready":
        assert row["holds"] == (row["true_block"] >= 0.8)
    # nothing is done again
    files = sorted(p for p in folder.rglob("*.npz"))
    written = [p.stat().st_mtime_ns for p in files]
    (again,) = run_benchmark(*arguments)
    assert [p.stat().st_mtime_ns for p in files] == written
    assert {k: v for k, v in again.items() if k != "wall_s"} == {
        k: v for k, v in row.items() if k != "wall_s"
    }


BY_FORCE = (
    "--set",
    "tolerance=[{quantity: energy, value: 1.0}, {quantity: force, value: 0.3, sites: [1]}]",
)


@pytest.mark.parametrize("tolerances", [(), BY_FORCE])
def test_truth_is_that_of_the_labels(run_benchmark, tmp_path, import_benchmark, tolerances):
    """At audited steps the error of the frame is the one that the ledger has."""
    from onfly.artifacts.workspace import list_runs

    runs = import_benchmark("truth_runs")
    (row,) = run_benchmark(
        "truth.py", "--steps", "40", "--resume", tmp_path / "runs", *SMALL_PROOF, *tolerances
    )
    names = {"energy", "force[1]"} if tolerances else {"energy"}
    assert {k for k in row if k.endswith("[1]")} == ({"true_force[1]"} if tolerances else set())
    (workspace,) = list_runs(tmp_path / "runs")
    state = workspace.read_state()
    frames = runs.true_frames(state, workspace, runs.Teacher("ase.calculators.emt.EMT"))
    compared = 0
    for entry in workspace.read_ledger(state.posterior.n_records).entries:
        at = np.flatnonzero(frames.step == entry.step)
        if entry.reason in ("audit", "closing", "warmup") and entry.error is not None:
            assert frames.error[at] == pytest.approx([entry.error], abs=1e-6)
            assert frames.std[at] == pytest.approx([entry.std], abs=1e-6)
            assert frames.generation[at] == [entry.generation]
            assert set(frames.ratios) == names
            for name, ratio in frames.ratios.items():
                assert ratio[at] == pytest.approx([entry.errors[name]], abs=1e-4)
            compared += 1
    assert compared > 5


def test_chain_is_saturated(import_benchmark):
    cases = import_benchmark("truth_cases")
    atoms = cases.chain("OCCOCCO")
    assert atoms.get_chemical_formula() == "C4H10O3"
    distances = atoms.get_all_distances()[np.triu_indices(len(atoms), 1)]
    assert distances.min() > 1.0


@pytest.mark.parametrize("walkers", [1, 3])
def test_variants_have_the_same_number_of_steps(run_benchmark, walkers):
    rows = run_benchmark(
        "truth.py", "--steps", "30", "--vary", f"walkers=[{walkers}]", "--set", "proof.attempts=0"
    )
    assert [row["set"] for row in rows] == [f"walkers={walkers}"]
    assert rows[0]["steps"] == 30
    assert rows[0]["verdict"] == "needs more audits"


def test_fixed_interval(run_benchmark):
    (row,) = run_benchmark(
        "truth.py", "--steps", "30", "--settings", "interval", "--interval", "10",
        "--set", "audit_interval=0", "--set", "proof.attempts=0",
    )  # fmt: skip
    assert row["calls"] == 0
    assert row["warmup"] == 3


def test_ranking_of_a_closing_block(run_benchmark, tmp_path):
    folder = tmp_path / "runs"
    run_benchmark("truth.py", "--steps", "40", "--resume", folder, "--seed", "1", *SMALL_PROOF)
    rows = run_benchmark("ranking.py", "--resume", folder, "--every", "2")
    found = {row["candidate"]: row for row in rows}
    assert {"std (all rows)", "distance, all atoms", "fits without a quarter"} <= found.keys()
    assert all(row["frames"] >= 10 for row in rows)
    assert all(-1 <= row["rank_energy"] <= 1 and row["spread"] > 0 for row in rows)


def test_learner(run_benchmark):
    rows = run_benchmark("learner.py", "--vary", "warm_up=[0, 0.3]")
    assert [row["set"] for row in rows] == ["", "{'warm_up': 0}", "{'warm_up': 0.3}"]
    plain, cold, warm = rows
    assert plain["update_cpu_s"] > 0
    assert cold["fit_E"] != warm["fit_E"] != plain["fit_E"]
    # what was learned is known better than what comes next
    assert all(row["fit_F"] < row["next_F"] for row in rows)


def test_plot(tmp_path, monkeypatch):
    """The figure is drawn of runs with and without a verdict."""
    import json
    import runpy
    import sys
    from pathlib import Path

    from PIL import Image

    row = {"case": "a", "labels": 40, "labels_before": 7, "waits": 5, "true_run": 0.99}
    rows = [
        row | {"seed": 0, "verdict": "ready", "true_block": 0.97},
        row | {"seed": 1, "verdict": "not accurate enough", "true_block": 0.8},
        row | {"seed": 2, "verdict": "needs more audits", "true_block": None},
    ]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows}))
    script = Path(__file__).parents[2] / "benchmarks" / "truth_plot.py"
    files = [str(tmp_path / "rows.json"), "--figure", str(tmp_path / "truth.png")]
    monkeypatch.setattr(sys, "argv", ["truth_plot.py", *files])
    runpy.run_path(str(script), run_name="__main__")
    with Image.open(tmp_path / "truth.png") as picture:
        assert len(picture.convert("RGB").getcolors(100000)) > 10
