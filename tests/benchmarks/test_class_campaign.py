from __future__ import annotations

import json


def test_quick(run_benchmark, tmp_path):
    folder = tmp_path / "runs"
    rows = run_benchmark("class_campaign.py", "--resume", folder)
    assert [(row["engine"], row["start"]) for row in rows] == [
        ("local", "foundation"),
        ("local", "class"),
    ]
    for row in rows:
        assert row["compounds"] == 2
        assert row["labels"] == row["labels_before"] > 2
        assert 0 <= row["true_worst"] <= row["true"] <= 1
    # the second compound started from what the first one had taught
    runs = (folder / "metals-local-class" / "artifacts" / "runs").glob("*/model.json")
    sources = sorted(json.loads(path.read_text())["foundation_model"] for path in runs)
    assert sources == ["class:related@1", "toy"]
