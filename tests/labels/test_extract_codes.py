"""Labels of CP2K, Abinit and FHI-aims through the task documents that atomate2 itself builds."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from monty.json import jsanitize
from pymatgen.core import Structure
from tests.labels import cp2k_files

from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.validate import validate_label

HARTREE, BOHR = 27.211386, 0.5291772  # eV, Å
GPA = 1 / 160.2176634  # eV/Å³


def from_store(document):
    """Return a document as a job store gives it back."""
    return json.loads(json.dumps(jsanitize(document, strict=True, enum_values=True)))


# -- CP2K: real files, parsed by pymatgen and atomate2 -----------------------------------------
def cp2k_document(folder, **options):
    task = pytest.importorskip("atomate2.cp2k.schemas.task")
    return task.TaskDocument.from_directory(cp2k_files.write_cp2k(folder, **options))


@pytest.mark.parametrize("stored", [False, True])
def test_cp2k(tmp_path, stored):
    document = cp2k_document(tmp_path)
    label = extract_label(from_store(document) if stored else document)
    assert label.energy == pytest.approx(cp2k_files.ENERGY * HARTREE, rel=1e-7)
    forces = np.array(cp2k_files.FORCES) * HARTREE / BOHR
    np.testing.assert_allclose(label.forces, forces, rtol=1e-6)
    # CP2K prints the pressure tensor: positive under compression
    np.testing.assert_allclose(label.stress, -np.array(cp2k_files.STRESS) * GPA, rtol=1e-6)
    assert label.labeller == "CP2K"
    assert label.structure.formula == "Na1 Cl1"
    np.testing.assert_allclose(label.structure.lattice.matrix[2], [0.3, 0, 5.4])
    np.testing.assert_allclose(label.structure.cart_coords[1], [2.6, 2.5, 2.8])
    assert label.input_hash == extract_label(document).input_hash
    assert str(tmp_path) in label.dir_name
    validate_label(label)


def test_cp2k_forces_come_back_in_the_requested_order(tmp_path):
    document = cp2k_document(tmp_path)
    requested = Structure.from_sites(list(reversed(document.structure.sites)))
    label = extract_label(document, requested=requested)
    assert label.forces[0][2] == pytest.approx(-0.03 * HARTREE / BOHR, rel=1e-6)


@pytest.mark.parametrize(
    ("version", "keyword", "in_gpa"),
    [
        ("9.1", "", 1.0),
        ("2024.3", "", 1.0),
        ("2025.1", "", 1e-4),
        ("2025.2 (Development Version)", "", 1e-4),
        ("2026.1", "STRESS_UNIT GPa", 1.0),
        ("2025.1", "STRESS_UNIT kbar", 0.1),
        ("2025.1", "STRESS_UNIT atm", 1.01325e-4),
    ],
)
@pytest.mark.parametrize("stored", [False, True])
def test_cp2k_prints_stress_in_a_unit_of_its_version_or_input(
    tmp_path, version, keyword, in_gpa, stored
):
    document = cp2k_document(tmp_path, version=version, stress=keyword)
    label = extract_label(from_store(document) if stored else document)
    expected = -np.array(cp2k_files.STRESS) * in_gpa * GPA
    np.testing.assert_allclose(label.stress, expected, rtol=1e-6)


def test_cp2k_units_that_nobody_reads_are_refused(tmp_path):
    with pytest.raises(LabelError, match="unknown unit 'furlong'"):
        extract_label(cp2k_document(tmp_path, stress="STRESS_UNIT furlong"))
    with pytest.raises(LabelError, match="atomic units") as caught:
        extract_label(cp2k_document(tmp_path, forces="FORCE_UNIT eV/angstrom"))
    assert "leave FORCE_UNIT out" in caught.value.remedy
    raw = from_store(cp2k_document(tmp_path))
    raw["calcs_reversed"][0]["cp2k_version"] = None
    with pytest.raises(LabelError, match="no version"):
        extract_label(raw)


def test_cp2k_settings_change_the_hash_and_geometry_does_not(tmp_path, monkeypatch):
    first = extract_label(cp2k_document(tmp_path)).input_hash
    moved = cp2k_files.OUTPUT.replace("2.800000     7.0000", "2.900000     7.0000")
    monkeypatch.setattr(cp2k_files, "OUTPUT", moved)
    assert extract_label(cp2k_document(tmp_path)).input_hash == first
    other = cp2k_files.OUTPUT.replace("DZVP-MOLOPT-SR-GTH", "TZVP-MOLOPT-GTH")
    monkeypatch.setattr(cp2k_files, "OUTPUT", other)
    assert extract_label(cp2k_document(tmp_path)).input_hash != first


def test_cp2k_forces_that_pymatgen_does_not_read_are_no_label(tmp_path, monkeypatch):
    # versions from 2025.1 on: atomate2 itself refuses, or the document has no forces
    tagged = cp2k_files.OUTPUT.replace("ATOMIC FORCES in [a.u.]", "FORCES| Atomic forces")
    monkeypatch.setattr(cp2k_files, "OUTPUT", tagged)
    with pytest.raises(ValueError, match=r"max_force|no forces"):
        extract_label(cp2k_document(tmp_path))


# -- Abinit: a netCDF file, read by abipy -------------------------------------------------------
ABINIT_FORCES = [[0.01, 0.02, -0.03], [-0.01, -0.02, 0.03]]  # Ha/Bohr
ABINIT_STRESS = [1e-4, 2e-4, 3e-4, 4e-5, 5e-5, 6e-5]  # Ha/Bohr³: xx yy zz yz xz xy


@pytest.fixture
def silicon():
    return Structure(
        np.array([[0.0, 2.7, 2.7], [2.7, 0.0, 2.7], [2.7, 2.7, 0.0]]),
        ["Si", "Si"],
        [[0, 0, 0], [0.26, 0.25, 0.25]],
    )


def abinit_gsr(path, structure):
    """Write what Abinit writes of energy, forces and stress, and open it with abipy."""
    netcdf = pytest.importorskip("netCDF4")
    gsr = pytest.importorskip("abipy.electrons.gsr")
    with netcdf.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        for name, size in (("atoms", 2), ("xyz", 3), ("six", 6)):
            file.createDimension(name, size)
        file.createVariable("kptopt", "i4", ())[...] = 1
        file.createVariable("etotal", "f8", ())[...] = -8.5
        file.createVariable("cartesian_forces", "f8", ("atoms", "xyz"))[...] = ABINIT_FORCES
        file.createVariable("cartesian_stress_tensor", "f8", ("six",))[...] = ABINIT_STRESS

    def no_gap(kind):
        if kind == "cbm":
            raise ValueError("no conduction bands")
        return SimpleNamespace(eig=3.0)

    class File(gsr.GsrFile):
        ebands = SimpleNamespace(structure=structure, fermie=5.0, get_edge_state=no_gap)

    return File(str(path))


def abinit_document(tmp_path, structure, **settings):
    task = pytest.importorskip("atomate2.abinit.schemas.task")
    calculation = pytest.importorskip("atomate2.abinit.schemas.calculation")
    abinit = pytest.importorskip("abipy.abio.inputs")
    pseudos = pytest.importorskip("abipy.data").pseudos("14si.pspnc")
    gsr = abinit_gsr(tmp_path / "out_GSR.nc", structure.copy())
    calc = calculation.Calculation(
        dir_name=str(tmp_path),
        abinit_version="10.4.3",
        has_abinit_completed=calculation.TaskState.SUCCESS,
        output=calculation.CalculationOutput.from_abinit_gsr(gsr),
        completed_at="2026-01-01",
    )
    variables = {"ecut": 8, "ngkpt": [2, 2, 2], "tolvrs": 1e-8} | settings
    source = abinit.AbinitInput(structure, pseudos, abi_kwargs=variables)
    return task.AbinitTaskDoc.from_structure(
        meta_structure=structure,
        dir_name=str(tmp_path),
        structure=calc.output.structure,
        input=task.InputDoc(structure=structure, abinit_input=source, xc="LDA"),
        output=task.OutputDoc.from_abinit_calc_doc(calc),
        calcs_reversed=[calc],
        state=calc.has_abinit_completed,
    )


@pytest.mark.parametrize("stored", [False, True])
def test_abinit(tmp_path, silicon, stored):
    document = abinit_document(tmp_path, silicon)
    label = extract_label(from_store(document) if stored else document, requested=silicon)
    assert label.energy == pytest.approx(-8.5 * HARTREE, rel=1e-6)
    np.testing.assert_allclose(label.forces, np.array(ABINIT_FORCES) * HARTREE / BOHR, rtol=1e-6)
    xx, yy, zz, yz, xz, xy = ABINIT_STRESS
    tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    # Abinit's stress is the derivative by strain: positive under tension
    np.testing.assert_allclose(label.stress, tensor * HARTREE / BOHR**3, rtol=1e-5)
    assert label.labeller == "Abinit"
    assert label.input_hash == extract_label(document).input_hash
    validate_label(label)


def test_abinit_settings_change_the_hash_and_geometry_does_not(tmp_path, silicon):
    first = extract_label(abinit_document(tmp_path, silicon)).input_hash
    moved = silicon.copy()
    moved.translate_sites([1], [0.01, 0, 0])
    assert extract_label(abinit_document(tmp_path, moved)).input_hash == first
    assert extract_label(abinit_document(tmp_path, silicon, ecut=10)).input_hash != first


def test_unconverged_abinit_is_refused(tmp_path, silicon):
    state = pytest.importorskip("atomate2.abinit.schemas.calculation").TaskState
    # what atomate2's job sets when it finds a warning about the SCF in the log
    document = abinit_document(tmp_path, silicon).model_copy(update={"state": state.UNCONVERGED})
    for form in (document, from_store(document)):
        with pytest.raises(LabelError, match="'unconverged'"):
            extract_label(form)


# -- FHI-aims: pymatgen's output object, through atomate2's schema ------------------------------
AIMS_FORCES = np.array([[0.1, 0.2, -0.3], [-0.1, -0.2, 0.3]])  # eV/Å
AIMS_STRESS = np.array([[0.01, 0.002, 0.003], [0.002, 0.02, 0.004], [0.003, 0.004, 0.03]])


def aims_document(structure, n_scf_iter=12, **parameters):
    task = pytest.importorskip("atomate2.aims.schemas.task")
    calculation = pytest.importorskip("atomate2.aims.schemas.calculation")
    outputs = pytest.importorskip("pymatgen.io.aims.outputs")
    # as the parser leaves an image: energies in eV, stress in eV/Å³ as aims prints it
    image = Structure(
        structure.lattice,
        structure.species,
        structure.frac_coords,
        site_properties={"force": AIMS_FORCES},
        properties={"energy": -15800.25, "stress": AIMS_STRESS, "n_scf_iter": n_scf_iter}
        | dict.fromkeys(("vbm", "cbm", "gap", "direct_gap", "fermi_energy"), 1.0),
    )
    output = outputs.AimsOutput([image], {"aims_version": "250822"}, {})
    source = calculation.CalculationInput(
        structure=structure, parameters={"xc": "pbe", "k_grid": [2, 2, 2]} | parameters
    )
    calc = calculation.Calculation(
        dir_name="/d",
        aims_version=output.aims_version,
        has_aims_completed=calculation.TaskState.SUCCESS,
        input=source,
        output=calculation.CalculationOutput.from_aims_output(output),
    )
    return task.AimsTaskDoc(
        dir_name="/d",
        structure=calc.output.structure,
        input=task.InputDoc.from_aims_calc_doc(calc),
        output=task.OutputDoc.from_aims_calc_doc(calc),
        calcs_reversed=[calc],
        state=calc.has_aims_completed,
    )


@pytest.mark.parametrize("stored", [False, True])
def test_aims(silicon, stored):
    document = aims_document(silicon)
    label = extract_label(from_store(document) if stored else document, requested=silicon)
    assert label.energy == -15800.25
    np.testing.assert_allclose(label.forces, AIMS_FORCES)
    # the derivative by strain, positive under tension; the document has it in kbar
    np.testing.assert_allclose(label.stress, AIMS_STRESS, rtol=1e-6)
    assert label.labeller == "FHI-aims"
    validate_label(label)


def test_aims_settings_change_the_hash(silicon):
    first = extract_label(aims_document(silicon))
    assert extract_label(aims_document(silicon, species_dir="/elsewhere")).input_hash == (
        first.input_hash
    )
    assert extract_label(aims_document(silicon, xc="pbesol")).input_hash != first.input_hash
    assert extract_label(from_store(aims_document(silicon))).input_hash == first.input_hash


def test_unconverged_aims_is_refused(silicon):
    document = aims_document(silicon, n_scf_iter=50, sc_iter_limit=50)
    for form in (document, from_store(document)):
        with pytest.raises(LabelError, match="did not converge in 50"):
            extract_label(form)
    assert extract_label(aims_document(silicon, n_scf_iter=49, sc_iter_limit=50))
