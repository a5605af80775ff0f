"""Files of structures that nothing sensible can be computed with."""

from __future__ import annotations

from tests.faults.inputs.case import BOX, COPPER, Case, settings

__all__ = ["STRUCTURES"]

_CIF = """data_x
_cell_length_a 3.61
_cell_length_b 3.61
_cell_length_c 3.61
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cu1 Cu 0 0 0 OCC
Au1 Au 0.5 0.5 0.5 1.0
"""
_PDB = """CRYST1   10.000   10.000   10.000  90.00  90.00  90.00 P 1
ATOM      1 CU   CU      1       0.000   0.000   0.000  0.50  0.00          CU
ATOM      2 CU   CU      1       5.000   5.000   5.000  1.00  0.00          CU
"""


def _poscar(name: str, old: str, new: str, says: str) -> Case:
    return Case(name, says, {"POSCAR": COPPER.replace(old, new, 1), "run.yaml": settings({})})


def _file(
    name: str, file: str, content: str | bytes | None, says: str, periodic: str | None = None
) -> Case:
    text = settings({"structure": file, "periodic": periodic})
    known = {} if content is None else {file.split("@")[0]: content}
    return Case(name, says, {"run.yaml": text, **known})


def _many(n: int) -> str:
    side = round(n ** (1 / 3)) + 1
    rows = [f"Cu {2.6 * (i % side)} {2.6 * (i // side % side)} {2.6 * (i // side**2)}"
            for i in range(n)]  # fmt: skip
    size = 2.6 * side
    head = f'Lattice="{size} 0 0 0 {size} 0 0 0 {size}" pbc="T T T"'
    return "\n".join([str(n), head, *rows]) + "\n"


_H2 = "2\n\nH 0 0 0\nH 0 0 0.74\n"
STRUCTURES = (
    _poscar("position nan", "0.5 0.5 0.01", "nan 0.5 0.01", "nan or infinite: atom 2"),
    _poscar("position inf", "0.5 0.0 0.5", "0.5 inf 0.5", "nan or infinite: atom 3"),
    _poscar("position -inf", "0.5 0.0 0.5", "0.5 -inf 0.5", "nan or infinite: atom 3"),
    _poscar("all positions nan", "0.0 0.0 0.0\n0.5", "nan nan nan\n0.5", "nan or infinite"),
    _poscar("cell nan", "3.61 0.0 0.0", "nan 0.0 0.0", "cell that is nan or infinite"),
    _poscar("cell inf", "3.61 0.0 0.0", "inf 0.0 0.0", "cell that is nan or infinite"),
    _poscar("scale nan", "\n1.0\n", "\nnan\n", "POSCAR"),
    _poscar("scale zero", "\n1.0\n", "\n0.0\n", "POSCAR"),
    _poscar("scale in nm", "\n1.0\n", "\n0.1\n", "per atom"),
    _poscar("cell without volume", "0.0 3.61 0.0", "3.61 0.0 0.0", "POSCAR"),
    _poscar("cell of zeros", "3.61 0.0 0.0", "0.0 0.0 0.0", "POSCAR"),
    _poscar("two atoms at one place", "0.5 0.0 0.5", "0.0 0.0 0.0", "on top of each other"),
    _poscar("an atom at an image", "0.5 0.0 0.5", "1.0 0.0 0.0", "on top of each other"),
    _poscar("Cartesian taken for direct", "Direct", "Cartesian", "sum of their covalent radii"),
    _poscar("unknown element", "\nCu\n", "\nXy\n", "POSCAR"),
    _poscar("dummy element", "\nCu\n", "\nX\n", "POSCAR"),
    _poscar("fewer atoms than said", "\n4\n", "\n7\n", "POSCAR"),
    _poscar("negative number of atoms", "\n4\n", "\n-4\n", "POSCAR"),
    _poscar("no atoms", "\n4\n", "\n0\n", "no atoms|POSCAR"),
    _poscar("words for numbers", "0.5 0.5 0.01", "a b c", "cannot be read"),
    _poscar("two cells only", "0.0 0.0 3.61\n", "", "POSCAR"),
    Case("POSCAR that ends early", "POSCAR", {"POSCAR": COPPER[:40], "run.yaml": settings({})}),
    Case("POSCAR that is empty", "is empty", {"POSCAR": "", "run.yaml": settings({})}),
    Case("POSCAR of zero bytes", "POSCAR", {"POSCAR": b"\0" * 4096, "run.yaml": settings({})}),
    Case("POSCAR of noise", "POSCAR",
         {"POSCAR": bytes(i * 37 % 256 for i in range(3000)), "run.yaml": settings({})}),
    Case("POSCAR in Latin-1", "POSCAR",
         {"POSCAR": "Kupfer für\n".encode("latin1") + COPPER.split("\n", 1)[1].encode()[:-30],
          "run.yaml": settings({})}),
    _file("no file", "nothing.cif", None, "nothing.cif is not there"),
    _file("a directory", ".", None, "is a directory"),
    _file("a device", "/dev/zero", None, "is no file"),
    _file("the terminal", "/dev/stdin", None, "is no file"),
    _file("ASE's name of the terminal", "'-'", None, "is not there"),
    _file("a database", "postgresql://user@host/db", None, "is not there"),
    _file("a database of ASE", "x.db@id=1", None, "is not there"),
    _file("itself", "run.yaml", None, "run.yaml"),
    _file("an unknown format", "x.unknown", "1 2 3\n", "cannot be read as a structure"),
    _file("a pickle", "x.pckl", b"\x80\x04\x95\x10\x00\x00\x00.", "cannot be read"),
    _file("a trajectory of ASE that is text", "x.traj", "nothing\n", "cannot be read"),
    _file("json of something", "x.json", '{"a": 1}', "x.json"),
    _file("json that is cut", "x.json", '{"1": {"num', "x.json"),
    _file("cif with half an atom", "x.cif", _CIF.replace("OCC", "0.5"), "partial occupancies"),
    _file("cif with 99 % of an atom", "x.cif", _CIF.replace("OCC", "0.99"), "partial occ"),
    _file("cif without positions", "x.cif", _CIF.split("loop_")[0], "x.cif"),
    _file("cif with a cell of zero", "x.cif",
          _CIF.replace("OCC", "1.0").replace("_a 3.61", "_a 0.0"), "x.cif"),
    _file("cif with an angle of 180", "x.cif",
          _CIF.replace("OCC", "1.0").replace("alpha 90", "alpha 180"), "x.cif"),
    _file("cif with an unknown element", "x.cif",
          _CIF.replace("OCC", "1.0").replace("Au", "Uxx"), "x.cif"),
    _file("cif that is empty but for its name", "x.cif", "data_x\n", "x.cif"),
    _file("pdb with half an atom", "x.pdb", _PDB, "partial occupancies"),
    _file("slab pbc", "x.xyz", BOX.replace('"T T T"', '"T T F"'), "periodic in some directions"),
    _file("wire pbc", "x.xyz", BOX.replace('"T T T"', '"F F T"'), "periodic in some directions"),
    _file("cell, not periodic", "x.xyz", BOX.replace('"T T T"', '"F F F"'),
          "set `periodic: true`"),
    _file("no cell, said to be periodic", "x.xyz", _H2, "has no cell", periodic="true"),
    _file("periodic is a word", "x.xyz", BOX, "periodic", periodic="sometimes"),
    _file("periodic is a list", "x.xyz", BOX, "periodic", periodic="[true, true, false]"),
    _file("two configurations", "x.xyz", _H2 * 2, "several configurations"),
    _file("configuration 7 of 2", "x.xyz@7", _H2 * 2, r"7"),
    _file("configuration of a file that is not there", "y.xyz@0", None, "is not there"),
    _file("configuration with a word", "x.xyz@last", _H2, "is not there"),
    _file("xyz with fewer lines", "x.xyz", BOX.replace("3\n", "5\n", 1), "x.xyz"),
    _file("xyz with a word for its number", "x.xyz", BOX.replace("3\n", "three\n", 1), "x.xyz"),
    _file("xyz with a negative number", "x.xyz", BOX.replace("3\n", "-3\n", 1), "x.xyz"),
    _file("xyz with an enormous number", "x.xyz", BOX.replace("3\n", "9" * 30 + "\n", 1), "x.xyz"),
    _file("xyz of nothing", "x.xyz", "0\n\n", "no atoms|x.xyz"),
    _file("xyz with nan", "x.xyz", BOX.replace("0.12", "nan"), "nan or infinite: atom 1"),
    _file("xyz with 1e400", "x.xyz", BOX.replace("0.12", "1e400"), "nan or infinite: atom 1"),
    _file("xyz with a cell of nan", "x.xyz", BOX.replace("9 0 0 0", "nan 0 0 0", 1), "nan or inf"),
    _file("xyz with a cell of eight numbers", "x.xyz", BOX.replace('"9 0 0', '"9 0', 1), "x.xyz"),
    _file("xyz with an empty key", "x.xyz", BOX.replace("Lattice", "name= Lattice"),
          "swallows the Lattice|x.xyz"),
    _file("xyz with deuterium", "x.xyz", BOX.replace("H 0 0.76", "D 0 0.76"), "x.xyz"),
    _file("xyz with element Xx", "x.xyz", BOX.replace("H 0 0.76", "Xx 0 0.76"), "x.xyz"),
    _file("xyz with element X", "x.xyz", BOX.replace("H 0 0.76", "X 0 0.76"), "no elements"),
    _file("xyz in Bohr, too close", "x.xyz", _H2.replace("0.74", "0.2"), "on top of each other"),
    _file("molecule with one atom twice", "x.xyz", "3\n\nH 0 0 0\nH 0 0 0.74\nH 0 0 0\n",
          "on top of each other"),
    _file("11 000 atoms", "x.xyz", _many(11_000), "above the limit of 10000"),
    _file("256 000 atoms", "x.xyz", _many(256_000), "above the limit of 10000"),
    _file("name with a newline", '"a\\nb"', None, "is not there"),
    _file("name with a null byte", '"a\\0b"', None, "a null byte in a value"),
    _file("name of 5000 letters", "x" * 5000, None, "name too long"),
    Case("structure is a number", "structure", {"run.yaml": settings({"structure": "5"})}),
    Case("structure is a list", "structure", {"run.yaml": settings({"structure": "[POSCAR]"})}),
    Case("structure is nothing", "structure", {"run.yaml": settings({"structure": "null"})}),
    Case("structure is empty", "structure|directory", {"run.yaml": settings({"structure": "''"})}),
    Case("npt with a molecule", "periodic structure",
         {"x.xyz": _H2, "run.yaml": settings({"structure": "x.xyz", "labeller": "emt",
          "stages": "[{n_steps: 9, ensemble: npt, pressure: 0.0}]"})}),
)  # fmt: skip
