from __future__ import annotations

import numpy as np
import pytest

from onfly.labels.ase import AseLabelMaker
from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.validate import validate_label


@pytest.fixture
def label(copper):
    return extract_label(AseLabelMaker(calculator="ase.calculators.emt.EMT").run(copper))


def test_good_label_passes(label, copper):
    validate_label(label, requested=copper, input_hash=label.input_hash)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(label, value):
    forces = np.array(label.forces)
    forces[1, 2] = value
    for change, word in (
        ({"energy": value}, "energy"),
        ({"forces": forces.tolist()}, "forces"),
        ({"stress": [[value] * 3] * 3}, "stress"),
    ):
        with pytest.raises(LabelError, match=word):
            validate_label(label.model_copy(update=change))


def test_large_force(label):
    largest = np.linalg.norm(label.forces, axis=1).max()
    validate_label(label, max_force=1.01 * largest)
    with pytest.raises(LabelError, match="largest force"):
        validate_label(label, max_force=0.99 * largest)


def test_stress_is_symmetrised_or_refused(label):
    stress = np.array(label.stress)
    stress[0, 1] += 2e-5
    nearly = label.model_copy(update={"stress": stress.tolist()})
    validate_label(nearly)
    assert np.array_equal(nearly.stress, np.transpose(nearly.stress))
    assert nearly.stress[0][1] == pytest.approx(label.stress[0][1] + 1e-5)
    stress[0, 1] += 0.1
    with pytest.raises(LabelError, match="not symmetric"):
        validate_label(label.model_copy(update={"stress": stress.tolist()}))


def test_other_structure_or_order(label, copper, nacl):
    with pytest.raises(LabelError, match="asked for"):
        validate_label(label, requested=nacl)
    swapped = type(copper).from_sites([copper[i] for i in (1, 0, 2, 3)])
    with pytest.raises(LabelError, match="order"):
        validate_label(label, requested=swapped)


def test_other_settings(label):
    with pytest.raises(LabelError, match="first label"):
        validate_label(label, input_hash="0" * 64)


def correction(tag, value):
    return {
        "handler": "h",
        "errors": ["e"],
        "actions": [{"dict": "INCAR", "action": {"_set": {tag: value}}}],
    }


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("KSPACING", 0.2),
        ("SIGMA", 0.1),
        ("ISMEAR", 0),
        ("LREAL", False),
        ("PREC", "Accurate"),
        ("ENCUT", 700),
        ("LDAUU", [4]),
        ("GGA", "PE"),
    ],
)
def test_corrections_that_move_the_surface(label, tag, value):
    with pytest.raises(LabelError, match=tag) as caught:
        validate_label(label.model_copy(update={"corrections": [correction(tag, value)]}))
    assert caught.value.directory == label.dir_name


@pytest.mark.parametrize(("tag", "value"), [("ALGO", "All"), ("NELM", 200), ("AMIX", 0.1)])
def test_corrections_that_do_not(label, tag, value):
    validate_label(label.model_copy(update={"corrections": [correction(tag, value)]}))


def test_correction_of_the_mesh(label):
    action = {"dict": "KPOINTS", "action": {"_set": {"kpoints": ((3, 3, 3),)}}}
    bad = [{"handler": "h", "errors": ["brmix"], "actions": [action]}]
    with pytest.raises(LabelError, match="KPOINTS"):
        validate_label(label.model_copy(update={"corrections": bad}))
