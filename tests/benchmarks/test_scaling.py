from __future__ import annotations

import math

import pytest


@pytest.fixture
def scaling(import_benchmark):
    """The script as a module."""
    return import_benchmark("scaling")


def test_quick(run_benchmark):
    rows = run_benchmark("scaling.py", "--threads", "1")
    atoms = [row for row in rows if row["study"] == "atoms"]
    labels = [row for row in rows if row["study"] == "labels"]
    assert [row["atoms"] for row in atoms] == [8, 16]
    assert [row["labels"] for row in labels] == [1, 4]
    for row in (*atoms, *labels):
        assert row["update_s"] == pytest.approx(row["rows_s"] + 200 * row["fit_s"])
        assert row["update_s"] > 0
    first, second = atoms
    assert min(first["md_s"], first["predict_s"], first["predict_std_s"]) > 0
    # a frame and a label of twice as many atoms are about twice as long, the weights are not
    assert first["weights_b"] == second["weights_b"]
    assert 1.5 < second["frame_b"] / first["frame_b"] < 2.1
    told = {row["cost"]: row for row in rows if row["study"] == "exponent of atoms"}
    ratio = second["frame_b"] / first["frame_b"]
    assert told["frame_b"]["all"] == pytest.approx(math.log2(ratio))
    assert told["weights_b"]["last"] == pytest.approx(0, abs=1e-9)


def test_supercells_are_as_cubic_as_they_can_be(scaling):
    for n_atoms, shape in ((8, (1, 1, 1)), (64, (2, 2, 2)), (512, (4, 4, 4)), (216, (3, 3, 3))):
        lengths = scaling.supercell(n_atoms, ("Cl", "Na")).cell.lengths() / 5.64
        assert sorted(lengths.round()) == sorted(shape)
    assert len(scaling.supercell(128, ("Cl", "Na"))) == 128
    assert set(scaling.supercell(8, ("C", "H")).get_chemical_symbols()) == {"C"}
    with pytest.raises(ValueError, match="multiple of 8"):
        scaling.supercell(20, ("Cl", "Na"))


def test_what_grows_worse_than_linearly_is_named(scaling):
    from common import Report

    sizes = (8, 16, 64)
    rows = [{"atoms": n, "md_s": 0.1 * n, "predict_s": 1.0, "rows_s": 1e-3 * n**2} for n in sizes]
    report = Report("scaling", {})
    scaling.tell(report, "any", "atoms", rows)
    found = {row["cost"]: row for row in report.rows}
    assert found["md_s"]["all"] == pytest.approx(1.0)
    assert found["rows_s"]["last"] == pytest.approx(2.0)
    assert {key for key, row in found.items() if row["worse_than_linear"]} == {"rows_s"}
