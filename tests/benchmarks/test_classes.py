from __future__ import annotations


def test_quick(run_benchmark, tmp_path):
    folder = tmp_path / "runs"
    rows = run_benchmark("classes.py", "--resume", folder)
    (fit,) = [row for row in rows if row["what"] == "class"]
    held = {row["compound"] for row in rows if row["what"] == "held out"}
    assert held == set(fit["held_out"].split())
    assert fit["n_labels"] == 4 * (6 - len(held))
    assert fit["given"] == 4
    runs = {row["from"]: row for row in rows if row["what"] == "run"}
    assert set(runs) == {"class", "foundation"}
    for row in runs.values():
        assert row["compound"] == "Cu"
        assert row["labels"] > 0
        assert 0 <= row["true"] <= 1
    # nothing is done again
    written = {p: p.stat().st_mtime_ns for p in folder.rglob("*.extxyz")}
    again = run_benchmark("classes.py", "--resume", folder)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.extxyz")} == written
    assert [row.get("labels") for row in again] == [row.get("labels") for row in rows]
