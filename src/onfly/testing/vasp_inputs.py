"""Reading VASP's inputs as strictly as VASP does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

__all__ = ["InputError", "Inputs", "is_true", "read_incar", "read_inputs"]


class InputError(Exception):
    """An input that VASP would refuse."""


@dataclass(frozen=True)
class Inputs:
    """What the stand-in needs to write vasprun.xml.

    Parameters
    ----------
    incar
        Tags in upper case and their text.
    mesh, shift
        Γ-centred or Monkhorst-Pack mesh.
    gamma_centred
        Which of both.
    species
        Element and number of atoms of each block of the POSCAR.
    titles
        TITEL of each POTCAR, in the same order.
    valences
        ZVAL of each POTCAR; 4 where there is only a POTCAR.spec.
    """

    incar: dict[str, str]
    mesh: tuple[int, int, int]
    shift: tuple[float, float, float]
    gamma_centred: bool
    species: list[tuple[str, int]]
    titles: list[str]
    valences: list[float]

    @property
    def n_electrons(self) -> float:
        """Number of valence electrons of the neutral cell."""
        return sum(n * z for (_, n), z in zip(self.species, self.valences, strict=True))


def is_true(text: str) -> bool:
    """Tell a Fortran logical."""
    return text.strip().strip(".").upper().startswith("T")


def read_incar(path: Path) -> dict[str, str]:
    """Read the tags of an INCAR."""
    if not path.exists():
        raise InputError("INCAR is missing")
    tags = {}
    for line in path.read_text().splitlines():
        for statement in re.split(r"[#!]", line)[0].split(";"):
            if "=" in statement:
                key, value = statement.split("=", 1)
                tags[key.strip().upper()] = value.strip()
    return tags


def _count(text: str) -> int:
    """Count the entries of a list such as ``4*0.6 2*5.0 1``."""
    return sum(int(item.split("*")[0]) if "*" in item else 1 for item in text.split())


def _kpoints(path: Path, incar: dict[str, str]) -> tuple[tuple[int, int, int], list[float], bool]:
    if not path.exists():
        if "KSPACING" not in incar:
            raise InputError("neither KPOINTS nor KSPACING")
        return (1, 1, 1), [0.0, 0.0, 0.0], True
    lines = path.read_text().splitlines()
    if lines[1].split()[0] != "0":
        raise InputError("the stand-in reads automatic meshes only")
    mesh = [int(word) for word in lines[3].split()[:3]]
    shift = [float(word) for word in lines[4].split()[:3]] if len(lines) > 4 else [0.0] * 3
    return (mesh[0], mesh[1], mesh[2]), shift, lines[2].strip().lower().startswith("g")


def _potcar(directory: Path) -> tuple[list[str], list[float]]:
    potcar, spec = directory / "POTCAR", directory / "POTCAR.spec"
    if potcar.exists():
        text = potcar.read_text()
        titles = re.findall(r"^\s*TITEL\s*=\s*(.+?)\s*$", text, re.MULTILINE)
        valences = [float(z) for z in re.findall(r"ZVAL\s*=\s*([\d.]+)", text)]
        if len(valences) != len(titles):
            raise InputError("POTCAR has not one ZVAL for each TITEL")
        return titles, valences
    if spec.exists():
        titles = [f"PAW_PBE {line.strip()}" for line in spec.read_text().splitlines() if line]
        return titles, [4.0] * len(titles)
    raise InputError("POTCAR is missing")


def read_inputs(directory: Path, atoms: Atoms) -> Inputs:
    """Read and check the inputs of a directory.

    Raises
    ------
    InputError
        If POTCARs do not follow the species of the POSCAR, or lists have wrong lengths.
    """
    incar = read_incar(directory / "INCAR")
    species: list[tuple[str, int]] = []
    for symbol in atoms.get_chemical_symbols():
        if species and species[-1][0] == symbol:
            species[-1] = (symbol, species[-1][1] + 1)
        else:
            species.append((symbol, 1))
    titles, valences = _potcar(directory)
    elements = [title.split()[1].split("_")[0] for title in titles]
    if elements != [symbol for symbol, _ in species]:
        raise InputError(f"POTCARs of {elements} for the species {species} of the POSCAR")
    if "MAGMOM" in incar and _count(incar["MAGMOM"]) != len(atoms):
        raise InputError(f"MAGMOM has {_count(incar['MAGMOM'])} entries for {len(atoms)} atoms")
    for tag in ("LDAUL", "LDAUU", "LDAUJ"):
        if tag in incar and _count(incar[tag]) != len(species):
            raise InputError(f"{tag} has not one entry for each of {len(species)} species")
    mesh, shift, gamma_centred = _kpoints(directory / "KPOINTS", incar)
    return Inputs(
        incar, mesh, (shift[0], shift[1], shift[2]), gamma_centred, species, titles, valences
    )
