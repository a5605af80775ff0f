from __future__ import annotations

import json
import multiprocessing
import os
import shutil

import numpy as np
import pytest
from monty.json import jsanitize
from pymatgen.core import Lattice, Molecule, Structure

from onfly.labels import store as store_module
from onfly.labels.ase import AseLabelMaker
from onfly.labels.errors import DamagedLabelError, LabelError, MissingLabelError
from onfly.labels.extract import extract_label
from onfly.labels.store import LabelStore
from onfly.schemas.label import RUN_FIELDS

from .conftest import rattled

KEY = "e_fr_energy"


def save_label(label, directory):
    """Write a label where and as version 0.1 did."""
    amounts = label.structure.composition.get_el_amt_dict()
    formula = "".join(f"{symbol}{amounts[symbol]:g}" for symbol in sorted(amounts))
    folder = directory / label.input_hash[:32] / formula
    folder.mkdir(parents=True)
    path = folder / f"{label.structure_hash[:32]}.json"
    path.write_text(json.dumps(jsanitize(label.model_dump(mode="json"), strict=True)))
    return path


def labelled(structure, **context):
    maker = AseLabelMaker(calculator="ase.calculators.emt.EMT")
    return extract_label(maker.run(structure), requested=structure, **context)


@pytest.fixture(scope="module")
def first_label(tmp_path_factory):
    """Computed once, since most tests are about its file."""
    cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    context = {"run_id": "a", "index": 3, "reason": "audit", "md_step": 7, "predicted_energy": 1.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("label"))
        return labelled(rattled(cell), **context)


@pytest.fixture
def label(first_label):
    return first_label.model_copy(deep=True)


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path / "labels")


def object_of(store, key):
    return store.root / "objects" / key[:2] / f"{key}.json"


def found(store, label, energy_key=KEY):
    return store.find(label.structure_hash, label.input_hash, energy_key)


def test_comes_back_exactly_and_without_its_run(store, label, copper):
    key = store.put(label)
    again = store.get(key)
    assert (again.energy, again.forces, again.stress) == (label.energy, label.forces, label.stress)
    assert np.array_equal(again.structure.frac_coords, copper.frac_coords)
    assert (again.dir_name, again.labeller) == (label.dir_name, label.labeller)
    assert again.created_at == label.created_at
    assert all(getattr(again, name) is None for name in RUN_FIELDS)
    assert not set(RUN_FIELDS) & set(json.loads(object_of(store, key).read_text())["label"])
    assert found(store, label) == key
    assert list(store.keys()) == [key]
    assert key in store
    assert store.verify() == []


def test_putting_twice_keeps_the_first(store, label, copper):
    key = store.put(label)
    before = object_of(store, key).read_bytes()
    # the same result, computed elsewhere and for another run
    again = labelled(copper, run_id="b").model_copy(update={"dir_name": "/elsewhere"})
    assert store.put(again) == key
    assert object_of(store, key).read_bytes() == before
    assert not [p for p in store.root.rglob("*") if p.name.startswith(".")]


def test_another_result_has_another_key_and_the_first_is_found(store, label):
    first = store.put(label)
    other = label.model_copy(update={"energy": np.nextafter(label.energy, 9.0)})
    second = store.put(other)
    assert first != second
    assert found(store, label) == first
    assert store.get(second).energy == other.energy


@pytest.mark.parametrize("energy", [-1.234567890123e7, 5e-324, -0.1 - 0.2, 1e16 + 2])
def test_energies_are_exact(store, label, energy):
    assert store.get(store.put(label.model_copy(update={"energy": energy}))).energy == energy


@pytest.mark.parametrize("field", ["energy", "forces", "stress"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_stored(store, label, field, value):
    shape = np.shape(getattr(label, field))
    bad = label.model_copy(update={field: np.full(shape, value).tolist()})
    with pytest.raises(LabelError, match=f"the {field} of a label is not finite"):
        store.put(bad)
    assert list(store.keys()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("structure_hash", "0" * 64), ("input_hash", "0" * 64), ("energy_key", "e_0_energy")],
)
def test_not_found_when_anything_differs(store, label, key, value):
    store.put(label)
    wanted = {
        "structure_hash": label.structure_hash,
        "input_hash": label.input_hash,
        "energy_key": KEY,
    }
    assert store.find(**wanted) is not None
    assert store.find(**(wanted | {key: value})) is None


def test_the_only_energy_of_a_code_fits_every_wish(store, label):
    key = store.put(label.model_copy(update={"energy_key": "energy"}))
    assert found(store, label, KEY) == found(store, label, "e_0_energy") == key
    exact = store.put(label)
    assert found(store, label, KEY) == exact
    assert found(store, label, "e_0_energy") == key


def test_a_label_without_settings_is_kept_but_never_found(store, label):
    key = store.put(label.model_copy(update={"input_hash": None}))
    assert store.get(key).input_hash is None
    assert found(store, label) is None


def test_charge_spin_and_moments_are_told_apart(store, copper, water):
    neutral = labelled(water)
    key = store.put(neutral)
    cation, triplet, magnetic = water.copy(), water.copy(), copper.copy()
    cation.set_charge_and_spin(1)
    triplet.set_charge_and_spin(0, 3)
    magnetic.add_site_property("magmom", [1.0] * len(magnetic))
    hashes = {labelled(s).structure_hash for s in (water, cation, triplet, copper, magnetic)}
    assert len(hashes) == 5
    for structure in (cation, triplet):
        assert found(store, labelled(structure)) is None
    assert found(store, neutral) == key
    ion = store.put(labelled(cation))
    assert isinstance(store.get(ion).structure, Molecule)
    assert store.get(ion).structure.charge == 1


def change(text, name):
    document = json.loads(text)
    document["label"][name] = {
        "energy": document["label"]["energy"] + 1e-9,
        "forces": [[0.0, 0.0, 0.0]] * len(document["label"]["forces"]),
        "stress": None,
        "input_hash": "0" * 64,
        "energy_key": "e_0_energy",
        "labeller": "other",
        "dir_name": "/other",
        "created_at": "2020-01-01T00:00:00Z",
        "structure_hash": "0" * 64,
        "elapsed": 1e9,
    }[name]
    return json.dumps(document)


@pytest.mark.parametrize(
    "name",
    [
        "energy",
        "forces",
        "stress",
        "input_hash",
        "energy_key",
        "labeller",
        "dir_name",
        "created_at",
        "structure_hash",
        "elapsed",
    ],
)
def test_a_changed_field_is_named_and_never_used(store, label, name):
    key = store.put(label)
    path = object_of(store, key)
    path.write_text(change(path.read_text(), name))
    with pytest.raises(DamagedLabelError, match=f"{name} changed") as caught:
        store.get(key)
    assert str(path) in str(caught.value)
    assert "remedy" in str(caught.value)
    assert found(store, label) is None
    assert key not in store
    assert len(store.verify()) == 1
    assert store.labels_of(label.structure, label.input_hash) == []


def moved_site(text):
    document = json.loads(text)
    document["label"]["structure"]["sites"][0]["abc"][0] += 1e-6
    return json.dumps(document)


def forged(text):
    """Checksums that fit the content, under the old name."""
    from onfly.labels.stored import checksums

    document = json.loads(change(text, "energy"))
    document["checksums"] = checksums(document["label"])
    return json.dumps(document)


DAMAGES = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "no JSON": lambda text: "x" + text,
    "a list": lambda text: "[]",
    "null": lambda text: "null",
    "a number": lambda text: "3",
    "no label": lambda text: json.dumps({"format": "onfly label 1"}),
    "label null": lambda text: json.dumps(json.loads(text) | {"label": None}),
    "no checksums": lambda text: json.dumps(json.loads(text) | {"checksums": {}}),
    "checksums null": lambda text: json.dumps(json.loads(text) | {"checksums": None}),
    "other format": lambda text: text.replace("onfly label 1", "onfly label 9"),
    "other key": lambda text: json.dumps(json.loads(text) | {"key": "0" * 64}),
    "nan": lambda text: text.replace('"energy": ', '"energy": NaN, "was": '),
    "deep": lambda text: "[" * 100_000,
    "moved": moved_site,
    "forged": forged,
    "binary": lambda text: bytes(range(256)),
    "zeros": lambda text: b"\0" * len(text),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_and_mended_by_putting_again(store, label, damage):
    key = store.put(label)
    path = object_of(store, key)
    whole = path.read_bytes()
    spoilt = DAMAGES[damage](whole.decode())
    path.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
    with pytest.raises(DamagedLabelError, match=path.name):
        store.get(key)
    assert found(store, label) is None
    assert len(store.verify()) == 1
    assert store.put(label) == key
    assert path.read_bytes() == whole
    assert found(store, label) == key
    assert store.verify() == []


def test_every_flipped_byte_is_noticed(store, label):
    key = store.put(label)
    path = object_of(store, key)
    whole = path.read_bytes()
    meaning = json.loads(whole)
    for position in np.random.default_rng(0).choice(len(whole), 150, replace=False):
        data = bytearray(whole)
        data[position] ^= 1 << (position % 7)
        path.write_bytes(bytes(data))
        try:
            same = json.loads(bytes(data)) == meaning  # blanks may change
        except ValueError:
            same = False
        if not same:
            with pytest.raises(DamagedLabelError):
                store.get(key)


@pytest.mark.parametrize("key", ["", "x", "../../etc/passwd", "0" * 63, "G" * 64, "/" * 64])
def test_what_is_no_key_leads_nowhere(store, key):
    with pytest.raises(MissingLabelError, match="no key"):
        store.get(key)


def test_missing_label(store):
    with pytest.raises(MissingLabelError, match="no label"):
        store.get("0" * 64)
    assert store.verify() == []
    assert list(store.keys()) == []


@pytest.mark.parametrize("text", ["", "x", "0" * 64, "../x", "\udcff"])
def test_damaged_index_is_told_and_built_anew(store, label, text):
    key = store.put(label)
    (entry,) = (store.root / "index").glob("*/*/*")
    entry.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert found(store, label) is None
    assert len(store.verify()) == 1
    assert store.reindex() == 1
    assert found(store, label) == key
    entry.write_bytes(b"x")
    assert store.put(label) == key  # as after a crash between both files
    assert found(store, label) == key


def test_lost_index_is_built_anew(store, label, copper):
    keys = {store.put(label), store.put(labelled(rattled(copper, seed=4)))}
    shutil.rmtree(store.root / "index")
    assert found(store, label) is None
    assert store.reindex() == 2
    assert found(store, label) in keys


def test_labels_of_a_compound(store, label, copper, water):
    bigger = copper.copy()
    bigger.make_supercell([2, 1, 1])
    second = labelled(rattled(copper, seed=2))
    for one in (second, label, labelled(bigger), labelled(water)):
        store.put(one)
    got = store.labels_of(copper, label.input_hash, KEY)
    assert [g.structure_hash for g in got] == [label.structure_hash, second.structure_hash]
    assert store.labels_of(copper, "0" * 64) == []


def put_many(root, label, barrier):
    barrier.wait()
    for number in range(20):
        LabelStore(root).put(label.model_copy(update={"energy": float(number)}))


def test_two_processes_put_the_same_labels(store, label):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    workers = [
        context.Process(target=put_many, args=(store.root, label, barrier)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert store.verify() == []
    assert sorted(store.get(key).energy for key in list(store.keys())) == list(range(20))


def test_crash_before_the_index_loses_nothing(store, label, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "_index", lambda *args: os.kill(os.getpid(), 0) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.put(label)
    (key,) = store.keys()
    assert store.get(key).energy == label.energy
    assert store.put(label) == key
    assert found(store, label) == key


def test_full_disk_leaves_no_half_label(store, label, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "atomic_create", full)
        with pytest.raises(OSError, match="No space"):
            store.put(label)
    assert list(store.keys()) == []
    assert store.put(label) in store


# -- version 0.1 --------------------------------------------------------------------------------
def test_old_labels_are_found_and_taken_over(store, label):
    path = save_label(label, store.root / KEY)
    before = path.read_bytes()
    key = found(store, label)
    assert store.get(key).forces == label.forces
    assert store.get(key).run_id is None
    assert path.read_bytes() == before
    assert found(store, label, "e_0_energy") is None
    path.unlink()
    assert found(store, label) == key


def test_old_label_keeps_its_kind_of_energy(store, label):
    only = label.model_copy(update={"energy_key": "energy"})
    save_label(only, store.root / "e_0_energy")
    assert found(store, label, "e_0_energy") is not None
    # with smearing it is not the free energy
    assert found(store, label, KEY) is None


@pytest.mark.parametrize("spoil", ["cut", "moved", "nan", "forces", "other"])
def test_damaged_old_labels_are_not_taken_over(store, label, spoil):
    path = save_label(label, store.root / KEY)
    document = json.loads(path.read_text())
    if spoil == "moved":
        document["structure"]["sites"][0]["abc"][0] += 0.01
    elif spoil == "nan":
        document["energy"] = float("nan")
    elif spoil == "forces":
        document["forces"].pop()
    elif spoil == "other":
        document = {"a": 1}
    text = json.dumps(document)
    path.write_text(text[:100] if spoil == "cut" else text)
    assert found(store, label) is None
    assert list(store.keys()) == []
    assert len(store.verify()) == 1
