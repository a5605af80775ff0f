from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.emt import EMT
from atomate2.ase.jobs import LennardJonesStaticMaker
from atomate2.forcefields.jobs import ForceFieldStaticMaker
from jobflow import run_locally
from monty.json import MontyDecoder, jsanitize
from pymatgen.core import Structure

from onfly.labels.ase import AseLabelMaker
from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.single_point import to_atoms
from onfly.schemas import structure_hash


def emt_output(structure):
    return AseLabelMaker(calculator="ase.calculators.emt.EMT").run(structure)


def test_ase_document_gives_what_the_calculator_says(copper):
    atoms = to_atoms(copper)
    atoms.calc = EMT()
    label = extract_label(emt_output(copper), requested=copper)
    assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(label.stress, atoms.get_stress(voigt=False), atol=1e-12)
    assert label.structure_hash == structure_hash(copper)
    assert label.structure == copper
    assert label.labeller == "ase.calculators.emt.EMT"
    assert label.elapsed > 0
    assert label.dir_name


def test_documents_from_a_store_read_the_same(copper):
    output = emt_output(copper)
    stored = jsanitize(output, strict=True, enum_values=True)
    direct = extract_label(output)
    for document in (stored, MontyDecoder().process_decoded(stored)):
        label = extract_label(document)
        assert label.energy == direct.energy
        assert label.input_hash == direct.input_hash
        assert label.structure_hash == direct.structure_hash


def test_label_survives_a_store(copper):
    label = extract_label(emt_output(copper), run_id="r", index=3, reason="audit")
    again = type(label).model_validate(jsanitize(label.model_dump(), strict=True))
    assert again.structure == copper
    assert again.forces == label.forces
    assert (again.run_id, again.index, again.reason) == ("r", 3, "audit")
    assert again.formula_pretty == "Cu"


def test_molecule_has_no_stress(water):
    label = extract_label(emt_output(water), requested=water)
    assert label.stress is None
    assert label.formula_pretty == "H2O"


def test_atomate2_makers_as_they_are(nacl, copper):
    """Another maker of atomate2, unchanged, and a force field with a version."""
    maker = LennardJonesStaticMaker(calculator_kwargs={"sigma": 2.4, "epsilon": 0.1, "rc": 6.0})
    job = maker.make(nacl)
    output = run_locally(job, ensure_success=True, log=False)[job.uuid][1].output
    label = extract_label(output, requested=nacl)
    reference = AseLabelMaker(
        calculator="ase.calculators.lj.LennardJones", calculator_kwargs=maker.calculator_kwargs
    ).run(nacl)
    expected = extract_label(reference)
    assert label.energy == pytest.approx(expected.energy)
    np.testing.assert_allclose(label.forces, expected.forces, atol=1e-10)
    np.testing.assert_allclose(label.stress, expected.stress, atol=1e-10)

    maker = ForceFieldStaticMaker(
        force_field_name={"@module": "ase.calculators.emt", "@callable": "EMT"}
    )
    job = maker.make(copper)
    output = run_locally(job, ensure_success=True, log=False)[job.uuid][1].output
    label = extract_label(output, requested=copper)
    assert label.energy == pytest.approx(extract_label(emt_output(copper)).energy)
    assert label.input_hash


def document(structure, **fields):
    """A task document as a store holds it."""
    output = {"structure": structure.as_dict(), "energy": -1.5}
    return {
        "state": "successful",
        "dir_name": "/d",
        "output": output | fields.pop("output", {}),
    } | (fields)


def vasp_document(structure, steps=12, **step):
    ionic = {
        "e_fr_energy": -1.0,
        "e_0_energy": -1.1,
        "e_wo_entrp": -1.2,
        "forces": np.ones((len(structure), 3)).tolist(),
        "stress": np.diag([10.0, 20.0, 30.0]).tolist(),
        "structure": structure.as_dict(),
        "num_electronic_steps": steps,
    }
    calculation = {
        "input": {"parameters": {"NELM": 60}, "incar": {"ENCUT": 520}},
        "output": {"ionic_steps": [ionic | step]},
    }
    return document(structure, vasp_version="6.4.2", calcs_reversed=[calculation])


def test_vasp_energies_and_stress(copper):
    raw = vasp_document(copper)
    label = extract_label(raw)
    assert (label.energy, label.energy_key) == (-1.0, "e_fr_energy")
    assert extract_label(raw, energy_key="e_0_energy").energy == -1.1
    np.testing.assert_allclose(np.diag(label.stress), -np.array([10, 20, 30]) / 1602.176634)
    with pytest.raises(ValueError, match="energy_key"):
        extract_label(raw, energy_key="e_zero")


def test_forces_come_back_in_the_requested_order(copper):
    permutation = [2, 0, 3, 1]
    computed = Structure.from_sites([copper[i] for i in permutation])
    forces = np.random.default_rng(0).normal(size=(4, 3))
    raw = vasp_document(computed, forces=forces[permutation].tolist())
    label = extract_label(raw, requested=copper)
    np.testing.assert_allclose(label.forces, forces)
    assert label.structure == copper


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "failed"}, "state 'failed'"),
        ({"custodian": [{"corrections": [{"errors": ["Walltime reached"]}]}]}, "wall time"),
    ],
)
def test_failed_calculations_are_refused(copper, change, message):
    with pytest.raises(LabelError, match=message) as caught:
        extract_label(vasp_document(copper) | change)
    assert caught.value.directory == "/d"


def test_unconverged_scf_is_refused(copper):
    with pytest.raises(LabelError, match="did not converge in 60"):
        extract_label(vasp_document(copper, steps=60))
    extract_label(vasp_document(copper, steps=59))


def test_missing_parts_are_refused(copper):
    with pytest.raises(LabelError, match="no energy"):
        extract_label(vasp_document(copper, e_fr_energy=None))
    with pytest.raises(LabelError, match="no forces"):
        extract_label(vasp_document(copper, forces=None))
    with pytest.raises(LabelError, match=r"shape \(3, 3\) for 4"):
        extract_label(vasp_document(copper, forces=np.ones((3, 3)).tolist()))
    with pytest.raises(LabelError, match="returned nothing"):
        extract_label(None)
    with pytest.raises(LabelError, match="cannot read a label"):
        extract_label({"energy": 1.0})


def test_unknown_context_is_an_error(copper):
    with pytest.raises(TypeError, match="step_number"):
        extract_label(vasp_document(copper), step_number=3)
