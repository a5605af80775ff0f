from __future__ import annotations

import math
import sys

import pytest

from onfly.testing.models import random_mace


def test_posteriors(run_benchmark, labelled):
    rows = run_benchmark(
        "posteriors.py", "--foundation", "toy", "--data", labelled, "--threshold", 20
    )
    foundation, *others = rows
    assert foundation["setting"] == "foundation"
    assert {"members", "gaussian", "both"} <= {row["judge"] for row in others}
    for row in others:
        assert row["cpu_s"] > 0
        assert row["std"] > 0
        assert 0 <= row["coverage"] <= 1
    # the foundation knows nothing of the labels
    assert others[-1]["force_rmse"] < foundation["force_rmse"]


def test_transfer(run_benchmark, labelled, tmp_path):
    pytest.importorskip("mace")
    foundation = random_mace(tmp_path / "random.safetensors")
    figure = tmp_path / "transfer.png"
    rows = run_benchmark(
        "transfer.py",
        *("--file", f"ethanol={labelled}", "--foundation", foundation, "--figure", figure),
    )
    assert [(row["arm"], row["labels"]) for row in rows] == [
        (arm, labels) for arm in ("tuned", "untrained", "sghmc") for labels in (0, 2, 4)
    ]
    found = {(row["arm"], row["labels"]): row for row in rows}
    # the same weights learn twice, other ones once
    assert found["tuned", 0]["force_rmse"] == found["sghmc", 0]["force_rmse"]
    assert found["tuned", 0]["force_rmse"] != found["untrained", 0]["force_rmse"]
    for arm in ("tuned", "untrained"):
        assert found[arm, 4]["force_rmse"] < found[arm, 0]["force_rmse"]
    for row in rows:
        assert math.isfinite(row["mll_calibrated"])
        # half of the twenty test errors calibrate
        assert sum(n for n, _ in row["by_size"]) == pytest.approx(10, abs=2)
    assert figure.stat().st_size > 10_000


@pytest.mark.slow
def test_time_to_accuracy(run_benchmark, tmp_path):
    pytest.importorskip("tblite")
    arguments = ("--foundation", "toy", "--folder", tmp_path / "runs")
    (row,) = run_benchmark("time_to_accuracy.py", *arguments)
    assert row["labels"] > 0
    assert row["floor_s"] > 0
    assert row["cpu_s"] > row["cpu_update_s"] > 0
    # a run that ended is reported, not made again
    (again,) = run_benchmark("time_to_accuracy.py", *arguments, "--report-only")
    assert again == row


@pytest.mark.slow
def test_real_dft(run_benchmark, tmp_path):
    pytest.importorskip("pyscf")
    (row,) = run_benchmark(
        "real_dft.py",
        *("--system", "ethanol-pyscf", "--foundation", "toy", "--folder", tmp_path / "run"),
    )
    assert row["labels"] > 0
    assert row["cpu_label_s"] > 0


def test_studies_without_data_say_what_they_need(run_benchmark, capsys):
    for script in ("posteriors.py", "transfer.py"):
        with pytest.raises(SystemExit):
            run_benchmark(script)
        assert "--data" in capsys.readouterr().err


def test_labels_by_xtb(run_benchmark, tmp_path, monkeypatch):
    pytest.importorskip("tblite")
    import runpy

    import ase.io

    from .conftest import BENCHMARKS

    path = tmp_path / "nacl.extxyz"
    monkeypatch.setattr(sys, "argv", ["xtb_labels.py", str(path), "--count", "2"])
    runpy.run_path(str(BENCHMARKS / "xtb_labels.py"), run_name="__main__")
    frames = ase.io.read(path, ":")
    assert [len(atoms) for atoms in frames] == [8, 8]
    assert frames[0].get_potential_energy() != frames[1].get_potential_energy()
    assert abs(frames[0].get_forces()).max() > 0
