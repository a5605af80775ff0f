"""Real outputs of VASP from a public test suite: the good is a label, no other is.

`tests/data/vasp/README.md` says where they come from.
"""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.failures import failed_label
from onfly.labels.validate import validate_label

DATA = Path(__file__).parents[1] / "data" / "vasp"
REFUSED = {
    "scf_unconverged": "^the SCF did not converge in 8 steps",
    "frozen_density": r"not self-consistent \(ICHARG = 11\)",
    "relaxation_unfinished": "^it is a relaxation that did not end in NSW = 5 steps",
    "cut_off": r"Premature end of data[\s\S]*vasprun.xml",
}


def label_of(folder):
    """Return the label of a folder of VASP, by what the job and the round do with it."""
    from emmet.core.tasks import TaskDoc

    try:
        document = TaskDoc.from_directory(folder)
    except Exception as error:  # as in the job: whatever a parser makes of a damaged file
        document = failed_label(error, str(folder))
    label = extract_label(document)
    validate_label(label)
    return label


def last_step(folder):
    """Return energy (eV), forces (eV/Å) and stress (kB) as the last lines of OUTCAR have them."""
    text = gzip.decompress((folder / "OUTCAR.gz").read_bytes()).decode()
    energy = float(re.findall(r"free  energy   TOTEN  = +(\S+) eV", text)[-1])
    table = text.rpartition("TOTAL-FORCE (eV/Angst)")[2].split("----\n")[1]
    rows = [line.split() for line in table.splitlines() if len(line.split()) == 6]
    stress = re.findall(r"in kB +(.*)", text)[-1].split()
    return energy, np.array(rows, float)[:, 3:], np.array(stress, float)


@pytest.mark.vasp
def test_the_numbers_of_a_good_calculation_are_those_in_its_outcar(tmp_path):
    folder = shutil.copytree(DATA / "converged", tmp_path / "calculation")
    label = label_of(folder)
    energy, forces, stress = last_step(folder)
    assert label.energy == pytest.approx(energy, abs=1e-6)
    np.testing.assert_allclose(label.forces, forces, atol=1e-6)
    # OUTCAR: XX YY ZZ XY YZ ZX, positive under compression; 1 kB is 0.1 GPa
    s = np.array(label.stress)
    ours = np.array([s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[1, 2], s[2, 0]]) * 1602.1766208
    np.testing.assert_allclose(ours, -stress, atol=1e-4)
    assert label.structure.formula == "Si2"


@pytest.mark.vasp
@pytest.mark.parametrize("name", REFUSED)
def test_another_is_refused_with_its_reason(name, tmp_path):
    folder = shutil.copytree(DATA / name, tmp_path / "calculation")
    with pytest.raises(LabelError, match=REFUSED[name]) as caught:
        label_of(folder)
    assert "Traceback" not in str(caught.value)


def test_every_folder_is_tested():
    assert {path.name for path in DATA.iterdir() if path.is_dir()} == {"converged", *REFUSED}
