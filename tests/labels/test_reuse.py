from __future__ import annotations

import json

import pytest
from maggma.stores import MemoryStore
from monty.json import jsanitize
from pymatgen.core import Molecule

from onfly.labels.ase import AseLabelMaker
from onfly.labels.extract import extract_label
from onfly.labels.reuse import find_label, load_label, save_label, seed_labels

from .conftest import rattled


def labelled(structure, **context):
    maker = AseLabelMaker(calculator="ase.calculators.emt.EMT")
    return extract_label(maker.run(structure), requested=structure, **context)


def as_document(label):
    return jsanitize(label.model_dump(mode="json"), strict=True)


@pytest.fixture(params=["directory", "store", "outputs of jobs", "documents"])
def source_of(request, tmp_path):
    """Return a function that puts labels into a source of each kind."""

    def build(*labels):
        if request.param == "directory":
            for label in labels:
                save_label(label, tmp_path / "labels")
            (tmp_path / "labels").mkdir(exist_ok=True)
            return tmp_path / "labels"
        if request.param == "documents":
            return list(labels)
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


def test_charge_and_moments_are_not_mistaken(source_of, copper):
    neutral = labelled(Molecule(["O", "H", "H"], [[0, 0, 0.1], [0, 0.8, -0.5], [0, -0.8, -0.5]]))
    cation = neutral.structure.copy()
    cation.set_charge_and_spin(1)
    magnetic = copper.copy()
    magnetic.add_site_property("magmom", [1.0] * len(magnetic))
    copper_label = labelled(copper)
    source = source_of(neutral, copper_label)
    assert find_label(neutral.structure, neutral.input_hash, source) is not None
    assert find_label(cation, neutral.input_hash, source) is None
    assert find_label(magnetic, copper_label.input_hash, source) is None


def test_the_label_of_an_ion_is_not_that_of_the_neutral_molecule(source_of):
    neutral = Molecule(["O", "H", "H"], [[0, 0, 0.1], [0, 0.8, -0.5], [0, -0.8, -0.5]])
    label = labelled(neutral)
    cation = neutral.copy()
    cation.set_charge_and_spin(1)
    source = source_of(label.model_copy(update={"structure": cation}))
    assert find_label(neutral, label.input_hash, source) is None


def test_file_is_whole_and_the_first_one_stays(copper, tmp_path):
    label = labelled(copper, run_id="a", index=0)
    path = save_label(label, tmp_path / "labels")
    again = label.model_copy(update={"run_id": "b", "energy": label.energy + 1e-9})
    assert save_label(again, tmp_path / "labels") == path
    assert [p.name for p in (tmp_path / "labels").rglob("*") if p.is_file()] == [path.name]
    assert as_document(load_label(path)) == as_document(label)
    assert json.loads(path.read_text())["doc_type"] == "label"


def test_a_search_reads_no_other_settings_and_compounds(copper, tmp_path, monkeypatch):
    from onfly.labels import reuse

    label = labelled(copper)
    save_label(label, tmp_path)
    for seed in range(3):
        save_label(labelled(rattled(copper, seed=seed)), tmp_path)
    bigger = copper.copy()
    bigger.make_supercell([2, 1, 1])
    save_label(labelled(bigger), tmp_path)
    save_label(label.model_copy(update={"input_hash": "0" * 64}), tmp_path)
    read = []
    monkeypatch.setattr(reuse, "load_label", lambda path: read.append(path) or load_label(path))
    assert find_label(copper, label.input_hash, tmp_path) is not None
    assert len(read) == 1
    assert len(seed_labels(copper, label.input_hash, tmp_path)) == 4
    assert len(read) == 5


def test_a_broken_file_is_no_label_and_is_replaced(copper, tmp_path, caplog):
    label = labelled(copper)
    path = save_label(label, tmp_path)
    path.write_text(path.read_text()[:100])
    assert find_label(copper, label.input_hash, tmp_path) is None
    assert "is not a label" in caplog.text
    assert save_label(label, tmp_path) == path
    assert find_label(copper, label.input_hash, tmp_path).energy == label.energy


def test_a_label_of_unknown_settings_is_not_saved(copper, tmp_path):
    label = labelled(copper).model_copy(update={"input_hash": None})
    with pytest.raises(ValueError, match="without input hash"):
        save_label(label, tmp_path)
