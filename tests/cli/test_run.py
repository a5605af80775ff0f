from __future__ import annotations

import json
import re
from pathlib import Path

from onfly.proof import ProofRule
from tests.cli.test_kill import command, prepare


def run(home, *words, report=False):
    return command(home, "never", *words, report=report)


def test_a_run_from_file_to_library(tmp_path):
    home = prepare(tmp_path / "home", "resident")
    done = run(home, "run", "run.yaml", "--run-id", "r", report=True)
    assert done.returncode == 0, done.stderr
    (page,) = re.findall(r"report: (\S+)", done.stdout)
    assert "Reference calculations" in Path(page).read_text()
    assert "audited coverage" in done.stdout
    assert "labels in" in done.stdout
    listed = run(home, "models", "list", "--json")
    (model,) = json.loads(listed.stdout)
    needed = (
        "model_id formula_pretty chemsys foundation_model state threshold_ev n_labels n_audits "
        "n_audits_within created_at"
    )
    assert set(needed.split()) <= set(model)
    (record,) = json.loads(run(home, "status", "--json").stdout)
    assert record["model_id"] == model["model_id"]
    assert (record["state"], record["phase"]) == ("ready", "done")
    assert record["n_waits"] < record["n_labels"]

    # a run that is ready has nothing to go on with, and says so; with more steps it goes on
    (home / "POSCAR").unlink()
    again = run(home, "resume", "r", "--quiet")
    assert again.returncode == 0
    assert "the run is ready: add stages" in again.stdout
    text = (home / "run.yaml").read_text()
    (home / "longer.yaml").write_text(text.replace("n_steps: 40", "n_steps: 55"))
    longer = run(home, "resume", "r", "--config", "longer.yaml", "--quiet")
    assert longer.returncode == 0, longer.stderr
    assert "trajectories.stages:" in longer.stdout
    (after,) = json.loads(run(home, "status", "--json").stdout)
    assert after["md_step"] == record["md_step"] + 15 + 30  # and another closing block
    (home / "other.yaml").write_text(text.replace("labeller: emt", "labeller: {name: emt, "
                                                  "kwargs: {asap_cutoff: true}}"))  # fmt: skip
    refused = run(home, "resume", "r", "--config", "other.yaml", "--quiet")
    assert refused.returncode == 2
    told = " ".join(refused.stdout.split())
    assert "do not belong to one energy surface; start a new run" in told
    assert "seed_from" not in told  # its labels would not be taken: see tests/faults/test_advice.py


BROKEN = """labeller:
  name: onfly.labels.ase.AseLabelMaker
  kwargs: {calculator: tests.flows.flaky.FlakyEMT, calculator_kwargs: {n_good: 0}}"""


def test_a_first_label_that_fails_is_mended_in_the_file(tmp_path):
    home = prepare(tmp_path / "home", "resident")
    text = (home / "run.yaml").read_text()
    (home / "bad.yaml").write_text(text.replace("labeller: emt", BROKEN))
    failed = run(home, "run", "bad.yaml", "--run-id", "r", "--quiet")
    assert failed.returncode == 3, failed.stderr
    assert "no convergence" in failed.stderr
    assert "onfly resume r" in failed.stderr
    mended = run(home, "resume", "r", "--config", "run.yaml", "--quiet")
    assert mended.returncode == 0, mended.stderr


def test_mistakes_end_the_command_before_anything_happens(tmp_path):
    home = prepare(tmp_path / "home", "resident")
    text = (home / "run.yaml").read_text()
    for old, new, words in (
        ("labeller: emt", "labeller: {name: emt, kwargs: {no_such: 1}}", "no_such"),
        ("threshold: 100 meV", "threshold: 100", "has no unit"),
        ("structure: POSCAR", "structure: nothing", "nothing"),
        ("kind: sghmc", "kind: magic", "magic"),
        ("n_workers: 1", "n_workers: 1\nseed_from: nobody", "there is no run 'nobody'"),
    ):
        (home / "bad.yaml").write_text(text.replace(old, new))
        for name in ("run", "plan"):
            found = run(home, name, "bad.yaml")
            assert found.returncode == 2, (new, found.stderr)
            assert words in found.stderr
    assert not (home / "artifacts").exists()
    assert "is good" in run(home, "run", "run.yaml", "--dry-run").stdout


def test_the_plan_is_what_the_proof_costs(tmp_path):
    home = prepare(tmp_path / "home", "resident", walkers=3)
    (record,) = json.loads(run(home, "plan", "run.yaml", "--json", "--measure").stdout)
    cost = ProofRule(coverage=0.5).cost()
    assert record["proof_labels"] == [cost.least_audits, cost.most_audits]
    assert record["labels_at_least"] == 3 + cost.least_audits
    assert record["md_steps"] == 120
    assert 0 < record["step_seconds"] < 5
    assert record["update_seconds"] > 0
    assert not (home / "artifacts" / "runs").exists()
