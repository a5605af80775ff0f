"""Writing the part of VASP's outputs that custodian, pymatgen and emmet read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from ase import Atoms
from ase.io import write

from onfly.testing.vasp_inputs import Inputs, is_true
from onfly.units import stress_to_kbar

__all__ = ["Results", "write_outputs"]

_KINDS: dict[str, str] = {
    "logical": "LASPH LWAVE LCHARG LAECHG LVTOT LDAU LHFCALC LMIXTAU LREAL ADDGRID",
    "int": "ISYM ISIF IBRION NSW ISMEAR NELM NELMIN ISPIN LORBIT LMAXMIX ISTART ICHARG LDAUTYPE "
    "LDAUPRINT NELMDL ISEARCH NCORE NPAR KPAR NBANDS IVDW",
    "string": "ALGO PREC GGA METAGGA SYSTEM PRECFOCK",
    "vector": "MAGMOM LDAUU LDAUJ LDAUL",
}
_KIND: dict[str, str] = {tag: kind for kind, tags in _KINDS.items() for tag in tags.split()}


@dataclass
class Results:
    """What was computed: eV, eV/Å, eV/Å³ (tension positive), in the order of the POSCAR."""

    atoms: Atoms
    free_energy: float
    energy_without_entropy: float
    forces: np.ndarray
    stress: np.ndarray
    scf_steps: int = 12

    @property
    def energy_sigma_zero(self) -> float:
        """Energy extrapolated to zero smearing in eV."""
        return 0.5 * (self.free_energy + self.energy_without_entropy)


def _expand(text: str) -> list[str]:
    values: list[str] = []
    for item in text.split():
        count, _, value = item.rpartition("*")
        values += [value] * (int(count) if count else 1)
    return values


def _tag(name: str, text: str) -> str:
    kind = _KIND.get(name)
    if kind == "vector":
        integer = name == "LDAUL"
        form = ' type="int"' if integer else ""
        numbers = " ".join(v if integer else f"{float(v):16.8f}" for v in _expand(text))
        return f'<v{form} name="{name}">{numbers}</v>'
    if kind == "string":
        return f'<i type="string" name="{name}">{escape(text)}</i>'
    if kind == "logical" and text.strip(".").upper()[:1] in ("T", "F"):
        return f'<i type="logical" name="{name}"> {"T" if is_true(text) else "F"} </i>'
    if kind == "int":
        return f'<i type="int" name="{name}">{int(float(text)):6d}</i>'
    try:
        return f'<i name="{name}">{float(text):16.8e}</i>'
    except ValueError:
        return f'<i type="string" name="{name}">{escape(text)}</i>'


def _rows(array: np.ndarray) -> str:
    return "\n".join("<v>" + " ".join(f"{x:16.8f}" for x in row) + "</v>" for row in array)


def _structure(atoms: Atoms, name: str = "") -> str:
    label = f' name="{name}"' if name else ""
    volume = f'<i name="volume">{atoms.get_volume():16.8f}</i>'
    reciprocal = np.linalg.inv(np.asarray(atoms.cell)).T
    return (
        f"<structure{label}>\n<crystal>\n"
        f'<varray name="basis">\n{_rows(np.asarray(atoms.cell))}\n</varray>\n{volume}\n'
        f'<varray name="rec_basis">\n{_rows(reciprocal)}\n</varray>\n</crystal>\n'
        f'<varray name="positions">\n{_rows(atoms.get_scaled_positions())}\n</varray>\n'
        "</structure>"
    )


def _energies(results: Results, excess: float = 0.0) -> str:
    values = {
        "e_fr_energy": results.free_energy,
        "e_wo_entrp": results.energy_without_entropy,
        "e_0_energy": results.energy_sigma_zero,
    }
    lines = "".join(f'<i name="{k}">{v + excess:16.8f}</i>\n' for k, v in values.items())
    return f"<energy>\n{lines}</energy>"


def _atominfo(inputs: Inputs, atoms: Atoms) -> str:
    symbols = atoms.get_chemical_symbols()
    kinds = [index for index, (_, n) in enumerate(inputs.species, 1) for _ in range(n)]
    atom_rows = "\n".join(
        f"<rc><c>{symbol:2s}</c><c>{kind:4d}</c></rc>"
        for symbol, kind in zip(symbols, kinds[: len(symbols)], strict=True)
    )
    type_rows = "\n".join(
        f"<rc><c>{n:4d}</c><c>{symbol:2s}</c><c>1.0</c><c>{z}</c><c> {escape(title)} </c></rc>"
        for (symbol, n), title, z in zip(
            inputs.species, inputs.titles, inputs.valences, strict=True
        )
    )
    return (
        f"<atominfo>\n<atoms>{len(symbols):8d}</atoms>\n<types>{len(inputs.species):8d}</types>\n"
        '<array name="atoms">\n<dimension dim="1">ion</dimension>\n'
        '<field type="string">element</field>\n<field type="int">atomtype</field>\n'
        f"<set>\n{atom_rows}\n</set>\n</array>\n"
        '<array name="atomtypes">\n<dimension dim="1">type</dimension>\n'
        '<field type="int">atomspertype</field>\n<field type="string">element</field>\n'
        "<field>mass</field>\n<field>valence</field>\n"
        f'<field type="string">pseudopotential</field>\n<set>\n{type_rows}\n</set>\n</array>\n'
        "</atominfo>"
    )


def _kpoints(inputs: Inputs) -> str:
    style = "Gamma" if inputs.gamma_centred else "Monkhorst-Pack"
    mesh = " ".join(f"{n:8d}" for n in inputs.mesh)
    shift = " ".join(f"{x:16.8f}" for x in inputs.shift)
    return (
        f'<kpoints>\n<generation param="{style}">\n<v type="int" name="divisions">{mesh}</v>\n'
        f'<v name="usershift">{shift}</v>\n</generation>\n'
        f'<varray name="kpointlist">\n{_rows(np.zeros((1, 3)))}\n</varray>\n'
        '<varray name="weights">\n<v>      1.00000000</v>\n</varray>\n</kpoints>'
    )


def _vasprun(inputs: Inputs, results: Results) -> str:
    incar = "\n".join(_tag(key, value) for key, value in inputs.incar.items())
    # the defaults of what the inputs leave open, as VASP writes them out
    parameters = {"NELM": "60", "IBRION": "-1", "ISIF": "2", "ISPIN": "1", "NSW": "0"}
    parameters["NELECT"] = f"{inputs.n_electrons:.8f}"
    parameters |= inputs.incar
    written = "\n".join(_tag(key, value) for key, value in parameters.items())
    # the energy error falls from step to step; an SCF that did not converge ends far away
    excesses = 10.0 * 0.1 ** np.arange(results.scf_steps)
    steps = "\n".join(f"<scstep>\n{_energies(results, x)}\n</scstep>" for x in excesses)
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<generator>\n'
        '<i name="program" type="string">vasp </i>\n<i name="version" type="string">6.4.2 </i>\n'
        '<i name="subversion" type="string">onfly stand-in</i>\n</generator>\n'
        f"<incar>\n{incar}\n</incar>\n{_kpoints(inputs)}\n"
        f"<parameters>\n{written}\n</parameters>\n{_atominfo(inputs, results.atoms)}\n"
        f"{_structure(results.atoms, 'initialpos')}\n<calculation>\n{steps}\n"
        f"{_structure(results.atoms)}\n"
        f'<varray name="forces">\n{_rows(results.forces)}\n</varray>\n'
        f'<varray name="stress">\n{_rows(stress_to_kbar(results.stress))}\n</varray>\n'
        f"{_energies(results)}\n</calculation>\n"
        f"{_structure(results.atoms, 'finalpos')}\n</modeling>\n"
    )


def write_outputs(directory: Path, inputs: Inputs, results: Results) -> None:
    """Write vasprun.xml, OUTCAR, OSZICAR and CONTCAR."""
    (directory / "OUTCAR").write_text(
        " vasp.6.4.2 stand-in of onfly\n"
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   "
        "number of bands    NBANDS=      8\n"
        "   total plane-waves  NPLWV =   4096\n"
        "   IBRION =     -1    ionic relax: 0-MD 1-quasi-New 2-CG\n"
    )
    lines = [
        f"DAV: {n:3d}    {results.free_energy:.12E}   {-(10.0 * 0.1**n):.5E}   0.0E+00  8  0.1E+00"
        for n in range(1, results.scf_steps + 1)
    ]
    summary = f"   1 F= {results.free_energy:.8E} E0= {results.energy_sigma_zero:.8E}  d E =0.0E+00"
    header = "       N       E                     dE             d eps       ncg     rms"
    (directory / "OSZICAR").write_text("\n".join([header, *lines, summary]) + "\n")
    write(directory / "CONTCAR", results.atoms, format="vasp", direct=True, vasp5=True)
    (directory / "vasprun.xml").write_text(_vasprun(inputs, results))
