"""Files of runs and campaigns, and every file that the package ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onfly.spec.campaign import CampaignFile
from onfly.spec.files import RunFile
from onfly.spec.flat import SettingError
from onfly.spec.structures import StructuresSpec
from onfly.spec.yaml import ConfigError, load, parse_yaml, read_source

ROOT = Path(__file__).parents[2]
RUN = """\
structure: POSCAR
foundation_model: ./x.model
threshold: 50 meV
labeller: emt
stages: [{n_steps: 10}]
"""
CAMPAIGN = """\
campaign: sulfides
structures: "*.cif"
threshold: 50 meV
labeller: emt
audit_interval: 20
posterior: {kind: sghmc, n_members: 4}
stages: [{n_steps: 10}]
overrides:
  NO: {threshold: 30 meV, walkers: 2}
  CaS: {posterior: {kind: last_layer}, audit_interval: 7}
"""


def write(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "local.pt").touch()
    run = load(write(tmp_path, RUN), RunFile)
    assert run.structure == tmp_path / "POSCAR"
    assert run.spec.foundation.source == str(tmp_path / "x.model")
    for given, source in (
        ("local.pt", str(tmp_path / "local.pt")),
        ("mace-mp-medium", "mace-mp-medium"),
        ("/abs/x.model", "/abs/x.model"),
        ("{source: ../y, family: mace}", str(tmp_path.parent / "y")),
    ):
        text = RUN.replace("./x.model", given)
        assert load(write(tmp_path, text), RunFile).spec.foundation.source == source


def test_a_run_file_has_both_forms(tmp_path):
    text = RUN + "run_id: first\nmode: chained\nrounds: {length: 50}\naudit_interval: 20\n"
    run = load(write(tmp_path, text), RunFile)
    assert (run.run_id, run.mode, run.periodic) == ("first", "chained", None)
    assert (run.spec.rounds.length, run.spec.rounds.audit_interval) == (50, 20)
    assert RunFile.model_validate_json(run.model_dump_json()) == run


def test_overrides_are_whole_trees(tmp_path):
    campaign = load(write(tmp_path, CAMPAIGN), CampaignFile)
    assert campaign.mode == "chained"
    assert campaign.structures.files == ("*.cif",)
    other = campaign.settings_for("NO")
    assert (other.tolerance[0].value, other.trajectories.walkers) == (0.03, 2)
    assert other.rounds == campaign.spec.rounds
    sulfide = campaign.settings_for("CaS")
    assert (sulfide.posterior.kind, sulfide.posterior.options) == ("last_layer", {})
    assert sulfide.rounds.audit_interval == 7
    assert campaign.settings_for("MgO") == campaign.spec


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("walkers: 2", "walkers: 0", "line 9: overrides.NO.walkers: Input should be greater"),
        ("walkers: 2", "walker: 2", "line 9: overrides.NO.walker: unknown key: did you mean"),
        (
            "walkers: 2",
            "stopping: {min_audits: 1}",
            "line 9: overrides.NO.stopping.min_audits: has",
        ),
        ("30 meV", "30", "line 9: overrides.NO.threshold: value 30 has no unit"),
        ("sulfides", "a/b", "line 1: campaign: 'a/b' cannot name folders"),
        ('"*.cif"', "{periodic: true}", "line 2: structures: give structures as `files`"),
        ('"*.cif"', "{query: {store: {}}}", "line 2: structures.query.store: store type None"),
        ("audit_interval: 20", "seed_from: a", "line 5: seed_from: is for one run"),
    ],
)
def test_mistakes_in_a_campaign(tmp_path, old, new, message):
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, CAMPAIGN.replace(old, new)), CampaignFile)
    assert message in str(error.value)


def test_structures_have_short_forms():
    assert StructuresSpec.model_validate("a.cif").files == ("a.cif",)
    assert StructuresSpec.model_validate(["a.cif", "b.cif"]).files == ("a.cif", "b.cif")


def shipped():
    for path in [ROOT / "src/onfly/cli/demo.yaml", *sorted(ROOT.glob("workflows/**/*.yaml"))]:
        content = read_source(path).data
        if "stages" in content:
            yield pytest.param(path, id=str(path.relative_to(ROOT)))


@pytest.mark.parametrize("path", shipped())
def test_files_that_are_shipped_are_understood(path):
    model = CampaignFile if "campaign:" in path.read_text() else RunFile
    assert load(path, model).spec.trajectories.stages


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))])
def test_yaml_blocks_of_the_pages_are_understood(page, tmp_path):
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if re.search(r"^structures?:", block, re.MULTILINE) and "stages:" in block:
            parse_yaml(block)
            model = CampaignFile if "campaign:" in block else RunFile
            assert load(write(tmp_path, block), model).spec


def test_problems_have_their_paths(tmp_path):
    source = read_source(write(tmp_path, RUN + "nonsense: 1\n"))
    with pytest.raises(SettingError) as error:
        RunFile.from_source(source, {})
    assert error.value.problems[0][0] == ("nonsense",)
