from __future__ import annotations

import json

from tests.cli.test_kill import command, prepare


def test_a_run_from_file_to_library_and_a_first_label_that_fails(tmp_path):
    home = prepare(tmp_path / "home", "resident")
    done = command(home, "never", "run", "run.yaml", "--run-id", "r")
    assert done.returncode == 0, done.stderr
    assert "audited coverage" in done.stdout
    assert (home / "artifacts/runs/r/report.html").stat().st_size > 100_000
    listed = command(home, "never", "models", "list", "--json")
    (model,) = json.loads(listed.stdout)
    needed = (
        "model_id formula_pretty chemsys foundation_model state threshold_ev n_labels n_audits "
        "n_audits_within created_at"
    )
    assert set(needed.split()) <= set(model)
    status = json.loads(command(home, "never", "status", "--json").stdout)
    assert [r["model_id"] for r in status] == [model["model_id"]]

    text = (home / "run.yaml").read_text()
    broken = "labeller: {name: onfly.labels.ase.AseLabelMaker, kwargs: {calculator: no.such.Thing}}"
    (home / "bad.yaml").write_text(text.replace("labeller: emt", broken))
    failed = command(home, "never", "run", "bad.yaml", "--run-id", "bad")
    assert failed.returncode == 1
    assert "no.such" in failed.stderr or "'no'" in failed.stderr
    assert "onfly resume bad" in failed.stderr
