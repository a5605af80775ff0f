from __future__ import annotations

import pytest


def test_before_and_after_against_the_teacher(run_benchmark, tmp_path):
    picture = tmp_path / "properties.png"
    rows = run_benchmark("properties.py", "--figure", picture)
    by_name = {row["name"]: row for row in rows}
    assert set(by_name) == {"V0", "E0", "B0"}
    volume = by_name["V0"]
    assert volume["truth"] == pytest.approx(11.57, abs=0.02)  # copper by EMT
    assert volume["before"] != pytest.approx(volume["truth"], rel=1e-3)
    assert volume["std"] > 0
    expected = (volume["after"] - volume["truth"]) / volume["std"]
    assert volume["z"] == pytest.approx(expected)
    assert picture.stat().st_size > 1000
