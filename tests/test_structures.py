from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk, molecule
from pymatgen.core import DummySpecies, Lattice, Molecule, Structure

from onfly.structures import StructureError, check_structure, from_atoms, read_structure

CELL = 'Lattice="5 0 0 0 5 0 0 0 5"'
ATOMS = "H 0 0 0\nH 0 0 1\n"


def poscar(scale="1.0", cell="3 0 0\n0 3 0\n0 0 3", second="0.5 0.5 0.5", counts="1 1"):
    return f"x\n{scale}\n{cell}\nNa Cl\n{counts}\nDirect\n0 0 0\n{second}\n"


def xyz(header, atoms=ATOMS, count=2):
    return f"{count}\n{header}\n{atoms}"


def cif(*rows):
    sites = "\n".join(rows)
    return (
        "data_x\n_cell_length_a 5.6\n_cell_length_b 5.6\n_cell_length_c 5.6\n"
        "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
        "_symmetry_space_group_name_H-M 'P 1'\nloop_\n_atom_site_label\n_atom_site_type_symbol\n"
        "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
        f"{sites}\n"
    )


BAD_FILES = {
    "POSCAR nan": ("POSCAR", poscar(second="nan 0.5 0.5"), "nan or infinite: atom 2"),
    "POSCAR inf": ("POSCAR", poscar(second="inf 0.5 0.5"), "nan or infinite"),
    "POSCAR nan cell": ("POSCAR", poscar(cell="nan 0 0\n0 3 0\n0 0 3"), "nan or infinite"),
    "POSCAR nan scale": ("POSCAR", poscar(scale="nan"), "cannot be read|nan or infinite"),
    "POSCAR flat cell": (
        "POSCAR",
        poscar(cell="3 0 0\n0 3 0\n3 3 0"),
        "vectors are missing or dependent",
    ),
    "POSCAR null cell": ("POSCAR", poscar(cell="0 0 0\n0 0 0\n0 0 0"), "per atom|periodic: true"),
    "POSCAR in nm": ("POSCAR", poscar(cell=".564 0 0\n0 .564 0\n0 0 .564"), "unit is not Å"),
    "POSCAR same place": ("POSCAR", poscar(second="0 0 0"), "on top of each other"),
    "POSCAR image": ("POSCAR", poscar(second="1 1 0.99"), "on top of each other"),
    "POSCAR cut": ("POSCAR", poscar()[:40], "cannot be read"),
    "POSCAR words": ("POSCAR", poscar(second="a b c"), "cannot be read"),
    "POSCAR count": ("POSCAR", poscar(counts="1 7"), "cannot be read"),
    "POSCAR no atoms": ("POSCAR", poscar(counts="0 0"), "no atoms|cannot be read"),
    "POSCAR latin-1": ("POSCAR", b"\xe4\xf6\n" + poscar().encode(), "UTF-8"),
    "POSCAR binary": ("POSCAR", bytes(range(256)) * 4, "UTF-8|cannot be read"),
    "xyz empty": ("a.xyz", "", "is empty"),
    "xyz blank": ("a.xyz", "\n\n", "holds no structure|cannot be read"),
    "xyz count": ("a.xyz", xyz("x", count=5), "cannot be read"),
    "xyz no atoms": ("a.xyz", "0\nx\n", "no atoms|holds no"),
    "xyz nan": ("a.xyz", xyz("x", "H 0 0 0\nH nan 0 1\n"), "nan or infinite"),
    "xyz inf": ("a.xyz", xyz("x", "H 0 0 0\nH inf 0 1\n"), "nan or infinite"),
    "xyz same place": ("a.xyz", xyz("x", "H 0 0 0\nH 0 0 0\n"), "on top of each other"),
    "xyz in nm": ("a.xyz", xyz("x", "H 0 0 0\nH 0 0 0.074\n"), "on top of each other"),
    "xyz dummy": ("a.xyz", xyz("x", "H 0 0 0\nX 0 0 1\n"), "no elements: X"),
    "xyz no element": ("a.xyz", xyz("x", "H 0 0 0\nQq 0 0 1\n"), "cannot be read"),
    "xyz frames": ("a.xyz", xyz("x") * 3, "a.xyz@-1"),
    "xyz FFF": ("a.xyz", xyz(f'{CELL} pbc="F F F"'), "periodic: true"),
    "xyz TTF": ("a.xyz", xyz(f'{CELL} pbc="T T F"'), "pbc T T F.*vacuum"),
    "xyz TFF": ("a.xyz", xyz(f'{CELL} pbc="T F F"'), "pbc T F F"),
    "xyz periodic, no cell": ("a.xyz", xyz('pbc="T T T"'), "vectors are missing"),
    "xyz empty value, cell": ("a.xyz", xyz(f'name="" {CELL} pbc="T T T"'), "swallows the Lattice"),
    "xyz no value, cell": ("a.xyz", xyz(f'name= {CELL} pbc="T T T"'), "swallows the Lattice"),
    "xyz empty value, pbc": ("a.xyz", xyz(f'{CELL} name="" pbc="T T F"'), "swallows the pbc"),
    "xyz empty value, FFF": ("a.xyz", xyz(f'{CELL} name="" pbc="F F F"'), "swallows the pbc"),
    "cif mixed site": (
        "a.cif",
        cif("Na1 Na 0 0 0 0.5", "K1 K 0 0 0 0.5", "Cl1 Cl 0.5 0.5 0.5 1"),
        "partial occupancies",
    ),
    "cif vacancies": ("a.cif", cif("Na1 Na 0 0 0 0.9", "Cl1 Cl .5 .5 .5 1"), "partial occup"),
    "cif split site": (
        "a.cif",
        cif("H1 H 0 0 0.01 0.5", "H2 H 0 0 0.99 0.5", "Cl1 Cl .5 .5 .5 1"),
        "partial occupancies",
    ),
    "cif no sites": ("a.cif", cif(), "cannot be read|holds no|no atoms"),
    "cif words": ("a.cif", "data_x\nhello\n", "cannot be read"),
    "unknown format": ("a.foo", "hello\n", "cannot be read"),
    "json": ("a.json", "{}", "cannot be read"),
    "yaml bomb": ("a.yaml", "a: &a [x]\nb: *a\n", "cannot be read"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_refused(tmp_path, case):
    name, text, message = BAD_FILES[case]
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StructureError, match=message) as caught:
        read_structure(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["none", "", "-", "/dev/zero", ".", "sqlite:///x.db", "a@b@c"])
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StructureError, match=r"is not there|is a directory"):
        read_structure(name)


def test_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "POSCAR")
    with pytest.raises(StructureError, match="no file"):
        read_structure(tmp_path / "POSCAR")


def test_slab_says_that_its_cell_has_vacuum(tmp_path):
    path = tmp_path / "slab.xyz"
    path.write_text(xyz(f'{CELL} pbc="T T F"'))
    assert read_structure(path, periodic=True).lattice.pbc == (True, True, True)
    assert isinstance(read_structure(path, periodic=False), Molecule)


def test_frames_by_number(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("".join(xyz("x", f"H 0 0 0\nH 0 0 {d}\n") for d in (1, 2, 3)))
    assert read_structure(f"{path}@0").distance_matrix[0, 1] == pytest.approx(1)
    assert read_structure(f"{path}@-1").distance_matrix[0, 1] == pytest.approx(3)
    for number in (3, -4):
        with pytest.raises(StructureError, match=f"no number {number}"):
            read_structure(f"{path}@{number}")
    literal = tmp_path / "b@1"
    literal.write_text(xyz("x"))
    assert len(read_structure(literal)) == 2  # a file of that name is that file


def test_good_files(tmp_path):
    (tmp_path / "POSCAR").write_text(poscar())
    assert isinstance(read_structure(tmp_path / "POSCAR"), Structure)
    (tmp_path / "a.xyz").write_text(xyz(f'name="" energy=-3.0 {CELL} pbc="T T T"'))
    assert isinstance(read_structure(tmp_path / "a.xyz"), Structure)
    (tmp_path / "a.cif").write_text(cif("Na1 Na 0 0 0 1", "Cl1 Cl .5 .5 .5 1.0"))
    assert len(read_structure(tmp_path / "a.cif")) == 2


def cube(*sites, a=5.0, species="Na"):
    return Structure(Lattice.cubic(a), [species] * len(sites), sites)


BAD_STRUCTURES = {
    "nan": (lambda: cube([np.nan] * 3), "nan or infinite"),
    "inf": (lambda: cube([np.inf, 0, 0]), "nan or infinite"),
    "nan cell": (
        lambda: Structure(np.full((3, 3), np.nan), ["Na"], [[0, 0, 0]]),
        "nan or infinite",
    ),
    "partial": (lambda: cube([0, 0, 0], species={"Na": 0.5, "K": 0.5}), "partial"),
    "vacancies": (lambda: cube([0, 0, 0], species={"Na": 0.5}), "partial"),
    "dummy": (lambda: cube([0, 0, 0], species=DummySpecies("Xa")), "no elements"),
    "X": (lambda: cube([0, 0, 0], species="X"), "no elements"),
    "slab": (
        lambda: Structure(Lattice(5 * np.eye(3), pbc=(True, True, False)), ["Na"], [[0, 0, 0]]),
        "pbc T T F",
    ),
    "flat": (
        lambda: Structure([[5, 0, 0], [0, 5, 0], [5, 5, 0]], ["Na"], [[0, 0, 0]]),
        "0 Å³ per atom",
    ),
    "same place": (lambda: cube([0, 0, 0], [0, 0, 0]), "on top of each other"),
    "image": (lambda: cube([0, 0, 0.001], [1, 0, 0.999]), "on top of each other"),
    "own image": (
        lambda: Structure(np.diag([0.4, 9, 9]), ["Na"], [[0, 0, 0]]),
        "its own image",
    ),
    "molecule nan": (lambda: Molecule(["H"], [[0, 0, np.nan]]), "nan or infinite"),
    "molecule same": (lambda: Molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.1]]), "0.1 Å apart"),
    "no atoms": (lambda: Molecule([], []), "no atoms"),
    "ase": (lambda: bulk("Cu"), "from_atoms"),
    "a path": (lambda: "POSCAR", "is a str"),
    "none": (lambda: None, "NoneType"),
}


@pytest.mark.parametrize("case", BAD_STRUCTURES)
def test_bad_structure_is_refused(case):
    make, message = BAD_STRUCTURES[case]
    with pytest.raises(StructureError, match=message):
        check_structure(make())


def test_good_structures_pass():
    for atoms in (bulk("Cu"), bulk("NaCl", "rocksalt", 5.64), molecule("H2O"), molecule("H2")):
        check_structure(from_atoms(atoms))
    # dense, as hydrogen under pressure
    check_structure(cube([0, 0, 0], a=1.2, species="H"))


def test_size_is_told_and_the_limit_can_be_set():
    large = from_atoms(bulk("Cu", cubic=True) * (40, 40, 40))
    with pytest.raises(StructureError, match="256000 atoms, above the limit of 10000"):
        check_structure(large)
    small = from_atoms(bulk("Cu", cubic=True) * (2, 1, 1))
    with pytest.raises(StructureError, match="8 atoms, above the limit of 7"):
        check_structure(small, max_atoms=7)
    check_structure(small, max_atoms=None)


def test_nan_ends_with_a_message_and_not_with_the_interpreter(tmp_path):
    (tmp_path / "POSCAR").write_text(poscar(second="nan 0.5 0.5"))
    code = (
        "from onfly.structures import read_structure, StructureError\n"
        "try:\n    read_structure('POSCAR')\nexcept StructureError:\n    raise SystemExit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 7
