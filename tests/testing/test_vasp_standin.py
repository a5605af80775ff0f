from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Oszicar, Vasprun

from onfly.labels.vasp_sets import SnapshotSetGenerator
from onfly.testing.vasp_setup import write_control
from onfly.testing.vasp_standin import FAULTS, Control, main


@pytest.fixture
def calculation(tmp_path, monkeypatch):
    """A directory with the inputs of LaMnO3 with PBE+U, and its structure."""
    monkeypatch.chdir(tmp_path)
    structure = Structure(
        Lattice.cubic(3.94),
        ["La", "Mn", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )
    structure.perturb(0.05)
    written = SnapshotSetGenerator().get_input_set(structure, potcar_spec=True)
    written.write_input(tmp_path)
    return written.poscar.structure


def change(name, old, new):
    with open(name) as file:
        text = file.read()
    assert old in text
    with open(name, "w") as file:
        file.write(text.replace(old, new))


def test_pymatgen_reads_what_was_computed(calculation):
    main([])
    atoms = AseAtomsAdaptor.get_atoms(calculation)
    atoms.calc = LennardJones(**Control().keywords)
    run = Vasprun("vasprun.xml", parse_potcar_file=False)
    assert run.converged
    assert run.is_hubbard
    assert run.hubbards["Mn"] == pytest.approx(3.9)
    assert run.kpoints.kpts[0] == (6, 6, 6)
    step = run.ionic_steps[-1]
    assert step["e_fr_energy"] == pytest.approx(atoms.get_potential_energy() - 25, abs=1e-7)
    np.testing.assert_allclose(step["forces"], atoms.get_forces(), atol=1e-7)
    kbar = -1602.1766208 * atoms.get_stress(voigt=False)
    np.testing.assert_allclose(step["stress"], kbar, atol=1e-4)
    assert Oszicar("OSZICAR").final_energy == pytest.approx(run.final_energy, abs=1e-5)
    assert Structure.from_file("CONTCAR").matches(calculation)


def test_unconverged_run_is_read_as_such(calculation, tmp_path):
    main(["--control", str(write_control(tmp_path / "c.json", fault="never"))])
    assert not Vasprun("vasprun.xml", parse_potcar_file=False).converged_electronic


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("POTCAR.spec", "Mn_pv", "Fe_pv", "POTCARs of"),
        ("INCAR", "LDAUU = 0 3.9 0", "LDAUU = 0 3.9", "LDAUU"),
        ("INCAR", "MAGMOM = ", "MAGMOM = 1.0 ", "MAGMOM has 6 entries for 5 atoms"),
    ],
)
def test_refuses_what_vasp_refuses(calculation, capsys, name, old, new, message):
    change(name, old, new)
    with pytest.raises(SystemExit):
        main([])
    assert message in capsys.readouterr().out


def test_runs_are_counted_and_faults_known(calculation, tmp_path, capsys):
    control = write_control(tmp_path / "c.json", faults={"1": "edddav"})
    main(["--control", str(control)])
    with pytest.raises(SystemExit):
        main(["--control", str(control)])
    assert "Error EDDDAV: Call to ZHEGV failed" in capsys.readouterr().out
    main(["--control", str(control)])
    write_control(tmp_path / "c.json", fault="typo")
    with pytest.raises(SystemExit):
        main(["--control", str(control)])
    assert ", ".join(FAULTS) in capsys.readouterr().out
