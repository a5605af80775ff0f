"""Output files of VASP, each spoilt in one way, are refused with the reason, as a job would do it.

The files come from the stand-in, so that every line of them is ours. `tests/labels/test_vasp.py`
lets the stand-in fail by itself, with custodian around it; `tests/labels/test_convergence.py`
spoils documents; `tests/faults/test_real_outputs.py` reads outputs of VASP itself.
"""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.test import testsuite
from atomate2.utils.path import strip_hostname
from emmet.core.tasks import TaskDoc
from jobflow import run_locally

from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.failures import failed_label
from onfly.labels.validate import validate_label
from onfly.labels.vasp import VaspLabelMaker
from onfly.testing.vasp_setup import standin_kwargs
from tests.labels.test_convergence import salt

pytestmark = pytest.mark.vasp

# files that are there whatever the packing of custodian's outputs
FILES = ("vasprun.xml", "OUTCAR", "CONTCAR", "POSCAR", "INCAR", "KPOINTS", "OSZICAR")


@pytest.fixture(scope="module")
def calculation(tmp_path_factory):
    """Return the folder of one good calculation, its files unpacked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("outputs"))
        job = VaspLabelMaker.from_preset("pbe", **standin_kwargs()).make(salt())
        output = run_locally(job, create_folders=True, ensure_success=True, log=False)
        folder = Path(strip_hostname(output[job.uuid][1].output.dir_name))
    for path in folder.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    return folder


@pytest.fixture
def outputs(calculation, tmp_path):
    folder = tmp_path / "calculation"
    shutil.copytree(calculation, folder)
    return folder


def label_of(folder):
    """Return the label of a folder, by what the job and the round do with it."""
    try:
        document = TaskDoc.from_directory(folder)
    except Exception as error:  # as in the job: whatever a parser makes of a damaged file
        document = failed_label(error, str(folder))
    label = extract_label(document, requested=salt())
    validate_label(label, requested=salt())
    return label


def replaced(pattern, text, count=0):
    """Return a change of vasprun.xml."""

    def change(folder):
        path = folder / "vasprun.xml"
        changed, n = re.subn(pattern, text, path.read_text(), count=count, flags=re.DOTALL)
        assert n, f"{pattern} is not in the file"
        path.write_text(changed)

    return change


def final(name, edit):
    """Return a change of one array of the last ionic step."""

    def change(folder):
        path = folder / "vasprun.xml"
        text = path.read_text()
        begin = text.rindex(f'<varray name="{name}">')
        end = text.index("</varray>", begin)
        rows = [
            [float(x) for x in row.split()] for row in re.findall("<v>(.*?)</v>", text[begin:end])
        ]
        lines = "\n".join(
            "<v>" + " ".join(x if isinstance(x, str) else f"{x:16.8f}" for x in row) + "</v>"
            for row in edit(rows)
        )
        path.write_text(f'{text[:begin]}<varray name="{name}">\n{lines}\n{text[end:]}')

    return change


def tag(name, kind, value):
    """Return a change of a setting, in the INCAR and wherever vasprun.xml states it."""

    def change(folder):
        path = folder / "vasprun.xml"
        text = path.read_text()
        entry = f'<i type="{kind}" name="{name}"> {value} </i>'
        text = re.sub(f'<i type="{kind}" name="{name}">.*?</i>\n?', "", text)
        for block in ("<incar>", "<parameters>"):
            text = text.replace(block, f"{block}\n{entry}", 1)
        path.write_text(text)
        with (folder / "INCAR").open("a") as file:
            file.write(f"\n{name} = {value}\n")

    return change


def cut(share):
    def change(folder):
        path = folder / "vasprun.xml"
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return change


def without(name):
    return lambda folder: (folder / name).unlink()


def filled(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def put(row, column, value):
    def edit(rows):
        rows[row][column] = value
        return rows

    return edit


def last_energy(name, value):
    def change(folder):
        path = folder / "vasprun.xml"
        head, _, tail = path.read_text().rpartition("</calculation>")
        pattern = f'(<i name="{name}">).*?(</i>)'
        begin = head.rindex("<energy>")
        changed = re.sub(pattern, rf"\g<1> {value} \g<2>", head[begin:])
        path.write_text(f"{head[:begin]}{changed}</calculation>{tail}")

    return change


N = 8
# what is done to the files, and words of the reason
FAULTS = {
    "frozen density (ICHARG 11)": (tag("ICHARG", "int", 11), "not self-consistent"),
    "frozen density (ICHARG 12)": (tag("ICHARG", "int", 12), "not self-consistent"),
    "no electronic steps (ALGO None)": (tag("ALGO", "string", "None"), "not self-consistent"),
    "eigenvalues only": (tag("ALGO", "string", "Eigenval"), "not self-consistent"),
    "NELM reached": (tag("NELM", "int", 12), "did not converge in 12 steps|'unsuccessful'"),
    "NELM passed": (tag("NELM", "int", 6), "did not converge in 6 steps|'unsuccessful'"),
    "vasprun.xml empty": (filled("vasprun.xml", b""), "no element found"),
    "vasprun.xml missing": (without("vasprun.xml"), "vasprun|VASP files"),
    "vasprun.xml of other bytes": (filled("vasprun.xml", b"\x00\xff\x93" * 999), "vasprun.xml"),
    "vasprun.xml of other XML": (filled("vasprun.xml", b"<a><b>1</b></a>"), "."),
    "vasprun.xml cut at 5 %": (cut(0.05), "vasprun.xml|state"),
    "vasprun.xml cut at 40 %": (cut(0.4), "vasprun.xml|state"),
    "vasprun.xml cut at 80 %": (cut(0.8), "vasprun.xml|state"),
    "vasprun.xml cut at 95 %": (cut(0.95), "vasprun.xml|state"),
    "vasprun.xml without its last tag": (cut(0.9995), "vasprun.xml|state"),
    "OUTCAR missing": (without("OUTCAR"), "outcar_file"),
    "energy nan": (last_energy("e_fr_energy", "NaN"), "energy is nan"),
    "energy inf": (last_energy("e_fr_energy", "Infinity"), "energy is inf"),
    "energy overflows its field": (last_energy("e_fr_energy", "****************"), "."),
    "force nan": (final("forces", put(0, 0, "NaN")), "forces are not finite"),
    "force overflows its field": (final("forces", put(3, 1, "****************")), "."),
    "a force is missing": (final("forces", lambda rows: rows[:-1]), "shape|forces"),
    "a force too many": (final("forces", lambda rows: [*rows, rows[0]]), "shape|forces"),
    "a component is missing": (final("forces", lambda rows: [r[:2] for r in rows]), "."),
    "net force": (
        final("forces", lambda rows: [[x, y, z + 0.05] for x, y, z in rows]),
        "do not sum to zero",
    ),
    "all forces but one are zero": (
        final("forces", lambda rows: [[0.0, 0.0, 2.0], *[[0.0] * 3] * (N - 1)]),
        "do not sum to zero",
    ),
    "explosion": (
        final("forces", lambda rows: [[1e4, 0, 0], [-1e4, 0, 0], *[[0.0] * 3] * (N - 2)]),
        "largest force is 10000",
    ),
    "stress nan": (final("stress", put(1, 1, "NaN")), "stress is not finite"),
    "stress not symmetric": (final("stress", put(0, 1, 900.0)), "not symmetric"),
    "an atom is missing": (
        replaced(r"<rc><c>Cl</c><c>   2</c></rc>\n(?=</set>)", "", 1),
        ".",
    ),
    "atoms of another species": (replaced("<c>Cl</c>", "<c>Br</c>"), "asked for|species|Br"),
    "another cell": (
        replaced(
            r'<varray name="basis">\n<v>.*?</v>',
            '<varray name="basis">\n<v> 5.9 0.0 0.0</v>',
        ),
        "cell of the calculation",
    ),
}


# emmet takes a second or two for each folder; these are of the kinds that files alone can have
QUICK = (
    "frozen density (ICHARG 11)",
    "NELM reached",
    "vasprun.xml empty",
    "vasprun.xml cut at 40 %",
    "energy nan",
    "a force is missing",
    "net force",
    "an atom is missing",
)


@pytest.mark.parametrize(
    "fault", [f if f in QUICK else pytest.param(f, marks=pytest.mark.slow) for f in FAULTS]
)
def test_a_spoilt_calculation_is_refused_with_its_reason(outputs, fault):
    change, reason = FAULTS[fault]
    change(outputs)
    with pytest.raises(LabelError, match=reason) as caught:
        label_of(outputs)
    text = str(caught.value)
    assert len(text) > 20
    assert "Traceback" not in text


def test_the_good_calculation_passes(outputs):
    label = label_of(outputs)
    assert np.isfinite(label.energy)
    assert len(label.forces) == N


def test_atoms_that_moved_are_refused(outputs):
    path = outputs / "vasprun.xml"
    head, name, tail = path.read_text().rpartition("<structure>\n<crystal>")
    begin = tail.index('<varray name="positions">')
    first = tail.index("<v>", begin)
    moved = " ".join(
        f"{float(x) + (0.05 if i == 0 else 0.0):.8f}"
        for i, x in enumerate(tail[first + 3 : tail.index("</v>", first)].split())
    )
    path.write_text(f"{head}{name}{tail[:first]}<v>{moved}{tail[tail.index('</v>', first) :]}")
    with pytest.raises(LabelError, match="positions of Na"):
        label_of(outputs)


@pytest.mark.parametrize("name", ["vasprun_dfpt.xml", "vasprun_pstress.xml"])
def test_files_of_the_test_suite_of_ase_are_no_labels_of_this_compound(outputs, name):
    """Real files of VASP, which the package brings: other compounds, and no single points."""
    source = Path(testsuite.__file__).parent / "testdata" / "vasp" / name
    if not source.is_file():
        pytest.skip("this ase does not bring its test data")
    shutil.copy(source, outputs / "vasprun.xml")
    with pytest.raises(LabelError):
        label_of(outputs)
