from __future__ import annotations

import json

import pytest
from maggma.stores import MemoryStore
from monty.json import jsanitize

from onfly.labels.ase import AseLabelMaker
from onfly.labels.extract import extract_label
from onfly.labels.reuse import find_label, load_label, save_label, seed_labels

from .conftest import rattled


def labelled(structure, **context):
    maker = AseLabelMaker(calculator="ase.calculators.emt.EMT")
    return extract_label(maker.run(structure), requested=structure, **context)


def as_document(label):
    return jsanitize(label.model_dump(mode="json"), strict=True)


@pytest.fixture(params=["directory", "store", "outputs of jobs"])
def source_of(request, tmp_path):
    """Return a function that puts labels into a source of each kind."""

    def build(*labels):
        if request.param == "directory":
            for label in labels:
                save_label(label, tmp_path / "labels")
            (tmp_path / "labels").mkdir(exist_ok=True)
            return tmp_path / "labels"
        store = MemoryStore(key="uuid")
        store.connect()
        documents = [as_document(label) for label in labels]
        if request.param == "store":
            documents = [d | {"uuid": str(n)} for n, d in enumerate(documents)]
        else:
            documents = [{"uuid": str(n), "output": d} for n, d in enumerate(documents)]
        store.update(documents)
        return store

    return build


def test_found_by_configuration_and_settings(copper, source_of):
    label = labelled(copper, run_id="a", index=0)
    other = labelled(rattled(copper, seed=5))
    source = source_of(other, label)
    found = find_label(copper, label.input_hash, source)
    assert found.energy == label.energy
    assert found.forces == label.forces
    assert found.structure == copper
    assert found.run_id == "a"


def test_not_found_when_anything_differs(copper, source_of):
    label = labelled(copper)
    source = source_of(label)
    assert find_label(rattled(copper, 1e-6), label.input_hash, source) is None
    assert find_label(copper, "0" * 64, source) is None
    swapped = type(copper).from_sites([copper[i] for i in (1, 0, 2, 3)])
    assert find_label(swapped, label.input_hash, source) is None
    assert find_label(copper, label.input_hash, source, energy_key="e_0_energy") is None
    assert find_label(copper, label.input_hash, source, energy_key=label.energy_key)


def test_nothing_in_an_empty_source(copper, source_of):
    assert find_label(copper, "0" * 64, source_of()) is None


def test_seeds_of_the_same_compound(copper, nacl, source_of):
    labels = [
        labelled(rattled(copper, seed=n), run_id="old", index=n, reason="audit", md_step=n)
        for n in range(4)
    ]
    bigger = copper.copy()
    bigger.make_supercell([2, 1, 1])
    source = source_of(*labels, labels[0], labelled(bigger))
    seeds = seed_labels(copper, labels[0].input_hash, source)
    assert [s.structure_hash for s in seeds] == [label.structure_hash for label in labels]
    assert all(s.reason == "seed" and s.run_id is None and s.md_step is None for s in seeds)
    latest = seed_labels(copper, labels[0].input_hash, source, limit=2)
    assert [s.structure_hash for s in latest] == [s.structure_hash for s in seeds[2:]]
    assert seed_labels(nacl, labels[0].input_hash, source) == []


def test_file_is_whole_and_written_once(copper, tmp_path):
    label = labelled(copper, run_id="a", index=0)
    path = save_label(label, tmp_path / "labels")
    assert save_label(label, tmp_path / "labels") == path
    assert [p.name for p in (tmp_path / "labels").iterdir()] == [path.name]
    again = load_label(path)
    assert as_document(again) == as_document(label)
    assert json.loads(path.read_text())["doc_type"] == "label"


def test_broken_file_does_not_hide_the_good_one(copper, tmp_path, caplog):
    label = labelled(copper)
    path = save_label(label, tmp_path)
    broken = path.with_name(path.stem[:-8] + "00000000.json")
    broken.write_text(path.read_text()[:100])
    assert find_label(copper, label.input_hash, tmp_path).energy == label.energy
    assert "is not a label" in caplog.text
