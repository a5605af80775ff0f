from __future__ import annotations

import pytest


def check_sampler(row):
    assert min(row["step_s"], row["baseline_s"], row["floor_s"]) > 0
    assert row["step_over_floor"] == pytest.approx(row["step_s"] / row["floor_s"])
    assert row["parameters"] > 100


def check_ensemble(row):
    assert min(row["ours_s"], row["each_s"], row["baseline_s"], row["floor_s"]) > 0
    assert row["baseline_over_ours"] == pytest.approx(row["baseline_s"] / row["ours_s"])
    assert row["strategy"] in ("stacked", "sequential")


def test_sampler(run_benchmark):
    (row,) = run_benchmark("sampler.py", "--models", "toy")
    assert (row["model"], row["system"], row["batch"]) == ("toy", "ethanol", 2)
    check_sampler(row)


def test_ensemble_md(run_benchmark):
    pytest.importorskip("chgnet")
    (row,) = run_benchmark("ensemble_md.py", "--models", "chgnet-0.3.0")
    assert (row["model"], row["system"], row["members"]) == ("chgnet-0.3", "ethanol", 4)
    check_ensemble(row)


def test_moments_of_forces(run_benchmark):
    (row,) = run_benchmark(
        "ensemble_md.py", "--moments", "--models", "toy", "--steps", "20", "--margins", "4"
    )
    assert row["full_over_plain"] > 1.0
    assert row["computed"] <= 0.15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "check"), [("sampler.py", check_sampler), ("ensemble_md.py", check_ensemble)]
)
def test_random_mace(run_benchmark, tmp_path, script, check):
    pytest.importorskip("mace", exc_type=ImportError)
    (row,) = run_benchmark(script, "--folder", tmp_path / "models")
    assert row["model"] == "mace-small"
    check(row)
