"""A campaign on this machine, one compound after the other."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from onfly.artifacts.workspace import RunWorkspace
from onfly.cli import run, submit
from onfly.cli.start_file import read_start
from onfly.library import ModelLibrary
from onfly.settings import get_settings
from tests.campaign.conftest import config, metals


@pytest.fixture
def app():
    app = typer.Typer()
    submit.register(app)
    run.register(app)
    return app


def invoke(app, *words):
    return CliRunner().invoke(app, [*words])


def test_compounds_run_here_and_only_what_is_missing(app, tmp_path):
    path = config(tmp_path, 1)
    dry = invoke(app, "submit", path, "--to", "local", "--dry-run")
    assert "would submit here-" in dry.output
    assert not (get_settings().ARTIFACT_DIR / "runs").exists()
    first = invoke(app, "submit", path, "--to", "local", "--quiet")
    assert first.exit_code == 0, first.output
    assert "1 of 1 compounds of campaign here submitted" in first.output
    formula = metals(2)[1].composition.reduced_formula
    path = config(tmp_path, 2, overrides={formula: {"audit_interval": 2, "seed": 5}})
    second = invoke(app, "submit", path, "--to", "local", "--quiet")
    assert "1 compounds have ended" in second.output
    assert "1 of 2 compounds" in second.output
    models = ModelLibrary.from_settings().query(campaign="here")
    assert sorted(m.seed for m in models) == [0, 5]
    # the run holds what is different for it, and where it began
    changed = next(m for m in models if m.seed == 5)
    workspace = RunWorkspace(get_settings().ARTIFACT_DIR, changed.run_id)
    spec = workspace.read_state().posterior.spec
    assert (spec.seed, spec.rounds.audit_interval) == (5, 2)
    beginning = read_start(workspace)
    assert beginning.mode == "chained"
    assert beginning.structures[0].composition.reduced_formula == formula


def test_a_compound_that_fails_does_not_end_the_campaign(app, tmp_path):
    formula = metals(2)[0].composition.reduced_formula
    bad = {
        "name": "onfly.labels.ase.AseLabelMaker",
        "kwargs": {
            "calculator": "tests.flows.flaky.FlakyEMT",
            "calculator_kwargs": {"n_good": 0},
        },
    }
    path = config(tmp_path, 2, overrides={formula: {"labeller": bad}})
    found = invoke(app, "submit", path, "--to", "local", "--quiet")
    assert "1 of 2 compounds" in found.output, found.output
    # mended and submitted again, the failed one is taken up
    again = invoke(app, "submit", config(tmp_path, 2), "--to", "local", "--quiet")
    assert "1 compounds have ended" in again.output
    assert "1 of 2 compounds" in again.output
    assert len(ModelLibrary.from_settings().query(campaign="here")) == 2


def test_mistakes_end_the_command_before_anything_happens(app, tmp_path):
    path = config(tmp_path, 1)
    assert "use fireworks, remote or local" in invoke(app, "submit", path, "--to", "slurm").output
    missing = invoke(app, "submit", path, "--to", "fireworks", "--launchpad", "no.yaml")
    assert missing.exit_code == 2
    assert "there is no LaunchPad file no.yaml" in missing.output
    wrong = invoke(app, "submit", config(tmp_path, 1, threshold=3), "--to", "local")
    assert wrong.exit_code == 2
    assert "value 3 has no unit" in wrong.output
    other = invoke(app, "submit", config(tmp_path, 1, overrides={"NaCl": {}}), "--to", "local")
    assert "overrides for NaCl fit no compound" in other.output
    assert not (get_settings().ARTIFACT_DIR / "campaigns").exists()


def test_a_campaign_that_learns_goes_on_where_it_was(app, tmp_path):
    fit = {"n_steps": 10, "replay": 3, "check": 3, "folds": 0}
    learning = {"class_model": {"name": "alloys", "every": 1, "fit": fit}}
    path = config(tmp_path, 2, **learning)
    first = invoke(app, "submit", path, "--to", "local", "--quiet")
    assert "class:alloys@1 made" in first.output, first.output
    assert "2 of 2 compounds" in first.output
    models = ModelLibrary.from_settings().query(campaign="here")
    assert sorted(m.foundation_model for m in models) == ["class:alloys@1", "toy"]
    # the state of the second is that of a run that was interrupted: it keeps its version
    learned = next(m for m in models if m.foundation_model == "class:alloys@1")
    workspace = RunWorkspace(get_settings().ARTIFACT_DIR, learned.run_id)
    before = workspace.read_state().posterior.spec.foundation
    again = invoke(app, "submit", path, "--to", "local", "--quiet")
    assert "2 compounds have ended" in again.output
    assert "class:alloys@1 found" in again.output
    assert workspace.read_state().posterior.spec.foundation == before
