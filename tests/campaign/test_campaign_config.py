from __future__ import annotations

import gzip
import json

import ase.io
import pytest

from onfly.cli.yaml_file import ConfigError, load_config
from onfly.flows.campaign_config import CampaignConfig
from tests.campaign.conftest import metals

BASE = """\
campaign: alloys
structures: ["poscars/*.vasp"]
foundation_model: toy
threshold: 100 meV
labeller: emt
stages:
  - {n_steps: 10, temperature: 300}
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "campaign"
    (folder / "poscars").mkdir(parents=True)
    for i, structure in enumerate(metals(3)):
        structure.to(str(folder / "poscars" / f"{i}.vasp"), fmt="poscar")
    return folder


def load(folder, text):
    path = folder / "campaign.yaml"
    path.write_text(text)
    return load_config(path, CampaignConfig)


def test_structures_from_files(folder):
    config = load(folder, BASE)
    runs = config.maker().runs(config.structures.read(folder))
    assert len(runs) == 3
    maker = config.maker().maker
    assert maker.mode == "chained"
    assert maker.threshold == 100
    absolute = BASE.replace("poscars/*", f"{folder}/poscars/[01]")
    assert len(load(folder, absolute).structures.read(folder)) == 2


def test_structures_from_a_pymatgen_list(folder):
    dicts = [s.as_dict() for s in metals(4)]
    with gzip.open(folder / "list.json.gz", "wt") as file:
        json.dump(dicts, file)
    text = BASE.replace('["poscars/*.vasp"]', "{pymatgen: list.json.gz}")
    assert load(folder, text).structures.read(folder) == metals(4)


@pytest.mark.mongo
def test_structures_from_a_query(folder, mongo_server):
    with mongo_server.client() as client:
        docs = [{"n": i, "relaxed": {"s": s.as_dict()}} for i, s in enumerate(metals(5))]
        client[mongo_server.database]["materials"].insert_many(docs)
    text = BASE.replace(
        '["poscars/*.vasp"]',
        f"""
  query:
    store: {{type: MongoURIStore, uri: "{mongo_server.uri}", database: {mongo_server.database},
             collection_name: materials}}
    criteria: {{n: {{$gte: 2}}}}
    field: relaxed.s""",
    )
    assert load(folder, text).structures.read(folder) == metals(5)[2:]


def test_only_structures_are_built_from_json(folder):
    evil = {"@module": "subprocess", "@class": "Popen", "args": ["touch", str(folder / "evil")]}
    (folder / "list.json").write_text(json.dumps([evil]))
    config = load(folder, BASE.replace('["poscars/*.vasp"]', "{pymatgen: list.json}"))
    with pytest.raises(ValueError, match=r"entry 0 of .* is no pymatgen Structure"):
        config.structures.read(folder)
    assert not (folder / "evil").exists()


def test_overrides(folder):
    formula = metals(1)[0].composition.reduced_formula
    config = load(
        folder,
        BASE + f"overrides:\n  {formula}:\n    threshold: 1 kcal/mol\n    audit_interval: 7\n",
    )
    campaign = config.maker()
    makers = [campaign.maker_for(s) for s in config.structures.read(folder)]
    assert {m.threshold_unit for m in makers} == {"meV", "kcal/mol"}
    changed = next(m for m in makers if m.threshold_unit == "kcal/mol")
    assert changed.threshold == 1
    assert changed.segment_maker.audit_interval == 7
    assert changed.mode == "chained"
    assert changed.label_maker.name == "emt label"
    assert len(changed.segment_maker.stages) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("threshold: 100 meV", "threshold: 100"), "line 4: threshold: '100' is not a number with"),
        (("campaign: alloys", "campaign: a/b"), "line 1: campaign: 'a/b' cannot name folders"),
        (('["poscars/*.vasp"]', "{}"), "line 2: structures: give structures as"),
        (("labeller: emt", "labeler: emt"), "line 5: labeler: unknown key; known keys"),
        (
            ("stages:", "overrides:\n  Cu:\n    thresold: 1 meV\nstages:"),
            "line 8: overrides.Cu.thresold: unknown key",
        ),
        (
            ("stages:", "overrides:\n  Cu:\n    threshold: 1 eW\nstages:"),
            "line 8: overrides.Cu.threshold: unknown energy unit",
        ),
        (
            ('["poscars/*.vasp"]', "{query: {store: {type: os}}}"),
            "line 2: structures.query.store: store type 'os' is no maggma store",
        ),
    ],
)
def test_mistakes_are_named_with_their_line(folder, change, message):
    with pytest.raises(ConfigError) as error:
        load(folder, BASE.replace(*change))
    assert message in str(error.value)


def test_a_pattern_that_finds_nothing(folder):
    config = load(folder, BASE.replace("*.vasp", "*.cif"))
    with pytest.raises(ValueError, match=r"no file poscars/\*.cif in"):
        config.structures.read(folder)


def test_files_that_leave_periodicity_open(folder):
    atoms = ase.io.read(folder / "poscars" / "0.vasp")
    atoms.pbc = False
    ase.io.write(folder / "open.extxyz", atoms)
    text = BASE.replace('["poscars/*.vasp"]', "{files: open.extxyz}")
    with pytest.raises(ValueError, match="periodic: true"):
        load(folder, text).structures.read(folder)
    text = BASE.replace('["poscars/*.vasp"]', "{files: open.extxyz, periodic: true}")
    assert len(load(folder, text).structures.read(folder)) == 1
