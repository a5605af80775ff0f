from __future__ import annotations

import gzip
import json

import ase.io
import pytest

from onfly.flows import CampaignMaker, OnTheFlyMaker
from onfly.flows.structures import read_structures
from onfly.spec.campaign import CampaignFile
from onfly.spec.yaml import ConfigError
from onfly.spec.yaml import load as load_file
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
    return load_file(path, CampaignFile)


def maker_of(config):
    return CampaignMaker(
        campaign=config.campaign,
        maker=OnTheFlyMaker(spec=config.spec, mode=config.mode),
        overrides=dict(config.overrides),
    )


def test_structures_from_files(folder):
    config = load(folder, BASE)
    runs = maker_of(config).runs(read_structures(config.structures, folder))
    assert len(runs) == 3
    maker = maker_of(config).maker
    assert maker.mode == "chained"
    assert maker.resolved_spec.tolerance[0].value == pytest.approx(0.1)
    absolute = BASE.replace("poscars/*", f"{folder}/poscars/[01]")
    assert len(read_structures(load(folder, absolute).structures, folder)) == 2


def test_structures_from_a_pymatgen_list(folder):
    dicts = [s.as_dict() for s in metals(4)]
    with gzip.open(folder / "list.json.gz", "wt") as file:
        json.dump(dicts, file)
    text = BASE.replace('["poscars/*.vasp"]', "{pymatgen: list.json.gz}")
    assert read_structures(load(folder, text).structures, folder) == metals(4)


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
    assert read_structures(load(folder, text).structures, folder) == metals(5)[2:]


def test_only_structures_are_built_from_json(folder):
    evil = {"@module": "subprocess", "@class": "Popen", "args": ["touch", str(folder / "evil")]}
    (folder / "list.json").write_text(json.dumps([evil]))
    config = load(folder, BASE.replace('["poscars/*.vasp"]', "{pymatgen: list.json}"))
    with pytest.raises(ValueError, match=r"entry 0 of .* is no pymatgen Structure"):
        read_structures(config.structures, folder)
    assert not (folder / "evil").exists()


def test_overrides(folder):
    formula = metals(1)[0].composition.reduced_formula
    config = load(
        folder,
        BASE + f"overrides:\n  {formula}:\n    threshold: 1 kcal/mol\n    audit_interval: 7\n",
    )
    campaign = maker_of(config)
    makers = [campaign.maker_for(s) for s in read_structures(config.structures, folder)]
    values = [round(m.resolved_spec.tolerance[0].value, 4) for m in makers]
    assert sorted(values) == [0.0434, 0.1, 0.1]
    changed = makers[values.index(0.0434)]
    assert changed.resolved_spec.rounds.audit_interval == 7
    assert changed.mode == "chained"
    assert changed.resolved_spec.labels.labeller.name == "emt"
    assert len(changed.resolved_spec.trajectories.stages) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("threshold: 100 meV", "threshold: 100"), "line 4: threshold: value 100 has no unit"),
        (("campaign: alloys", "campaign: a/b"), "line 1: campaign: 'a/b' cannot name folders"),
        (('["poscars/*.vasp"]', "{}"), "line 2: structures: give structures as"),
        (("labeller: emt", "labeler: emt"), "line 5: labeler: unknown key: did you mean labeller?"),
        (
            ("stages:", "overrides:\n  Cu:\n    thresold: 1 meV\nstages:"),
            "line 8: overrides.Cu.thresold: unknown key",
        ),
        (
            ("stages:", "overrides:\n  Cu:\n    threshold: 1 eW\nstages:"),
            "line 8: overrides.Cu.threshold",
        ),
    ],
)
def test_mistakes_are_named_with_their_line(folder, change, message):
    with pytest.raises(ConfigError) as error:
        load(folder, BASE.replace(*change))
    assert message in str(error.value)


def test_only_stores_are_opened(folder):
    config = load(folder, BASE.replace('["poscars/*.vasp"]', "{query: {store: {type: os}}}"))
    with pytest.raises(ValueError, match="store type 'os' is no maggma store"):
        read_structures(config.structures, folder)


def test_a_pattern_that_finds_nothing(folder):
    config = load(folder, BASE.replace("*.vasp", "*.cif"))
    with pytest.raises(ValueError, match=r"no file poscars/\*.cif in"):
        read_structures(config.structures, folder)


def test_files_that_leave_periodicity_open(folder):
    atoms = ase.io.read(folder / "poscars" / "0.vasp")
    atoms.pbc = False
    ase.io.write(folder / "open.extxyz", atoms)
    text = BASE.replace('["poscars/*.vasp"]', "{files: open.extxyz}")
    with pytest.raises(ValueError, match="periodic: true"):
        read_structures(load(folder, text).structures, folder)
    text = BASE.replace('["poscars/*.vasp"]', "{files: open.extxyz, periodic: true}")
    assert len(read_structures(load(folder, text).structures, folder)) == 1
