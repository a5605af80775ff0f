"""Labels that look successful and are not: real documents, each spoilt in one way."""

from __future__ import annotations

import copy
import gzip
import json

import numpy as np
import pytest
from jobflow import run_locally
from monty.json import jsanitize
from pymatgen.core import Lattice, Structure
from tests.labels import cp2k_files
from tests.labels.conftest import rock_salt

from onfly.labels.ase import AseLabelMaker
from onfly.labels.convergence import require_converged
from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.mapping import site_order
from onfly.labels.validate import validate_label
from onfly.labels.vasp import VaspLabelMaker
from onfly.testing.vasp_setup import standin_kwargs


def stored(document):
    return json.loads(json.dumps(jsanitize(document, strict=True, enum_values=True)))


def salt():
    return rock_salt().copy().perturb(0.05, seed=1)


def run_vasp(maker, structure):
    job = maker.make(structure)
    return run_locally(job, create_folders=True, ensure_success=True, log=False)[job.uuid][1].output


@pytest.fixture(scope="module")
def vasp_document(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("vasp"))
        return stored(run_vasp(VaspLabelMaker.from_preset("pbe", **standin_kwargs()), salt()))


def put(document, value, *path):
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


STEP = ("calcs_reversed", 0, "output", "ionic_steps", -1)
INPUT = ("calcs_reversed", 0, "input")

BAD_VASP = {
    "ICHARG 11 in the parameters": ((11, *INPUT, "parameters", "ICHARG"), "ICHARG = 11"),
    "ICHARG 10 in the INCAR": ((10, *INPUT, "incar", "ICHARG"), "ICHARG = 10"),
    "ICHARG 12 as text": (("12", *INPUT, "incar", "ICHARG"), "ICHARG = 12"),
    "ALGO None": (("None", *INPUT, "incar", "ALGO"), "ALGO = None"),
    "ALGO Nothing": (("Nothing", *INPUT, "incar", "ALGO"), "not self-consistent"),
    "ALGO Eigenval": (("Eigenval", *INPUT, "incar", "ALGO"), "not self-consistent"),
    "ALGO Subrot": (("Subrot", *INPUT, "incar", "ALGO"), "not self-consistent"),
    "state failed": (("failed", "state"), "state 'failed'"),
    "state unsuccessful": (("unsuccessful", "state"), "state 'unsuccessful'"),
    "state error": (("error", "state"), "state 'error'"),
    "VASP failed": (("failed", "calcs_reversed", 0, "has_vasp_completed"), "did not complete"),
    "NELM reached": ((12, *INPUT, "parameters", "NELM"), "did not converge in 12 steps"),
    "NELM below": ((5, *INPUT, "parameters", "NELM"), "did not converge in 5 steps"),
    "no energy": ((None, *STEP, "e_fr_energy"), "no energy"),
    "energy is text": (("low", *STEP, "e_fr_energy"), "no numbers"),
    "energy nan": ((float("nan"), *STEP, "e_fr_energy"), "the energy is nan"),
    "energy inf": ((float("inf"), *STEP, "e_fr_energy"), "the energy is inf"),
    "force nan": (([[float("nan")] * 3] * 8, *STEP, "forces"), "forces are not finite"),
    "force inf": (([[float("inf")] * 3] * 8, *STEP, "forces"), "forces are not finite"),
    "forces are text": (("none", *STEP, "forces"), "no numbers"),
    "a force is missing": (([[0.0, 0.0, 0.0]] * 7, *STEP, "forces"), r"shape \(7, 3\)"),
    "a component is missing": (([[0.0, 0.0]] * 8, *STEP, "forces"), r"shape \(8, 2\)"),
    "ragged forces": (([[0.0] * 3] * 7 + [[0.0]], *STEP, "forces"), "no numbers"),
    "net force": (([[0.0, 0.0, 0.03]] * 8, *STEP, "forces"), "do not sum to zero: 0.03"),
    "one force only": (([[0.0, 0.0, 1.0]] + [[0.0] * 3] * 7, *STEP, "forces"), "sum to zero"),
    "explosion": (([[99.0, 0, 0], [-99.0, 0, 0]] + [[0] * 3] * 6, *STEP, "forces"), "largest"),
    "stress nan": (([[float("nan")] * 3] * 3, *STEP, "stress"), "stress is not finite"),
    "stress Voigt": (([1.0] * 6, *STEP, "stress"), "no numbers|shape"),
    "stress asymmetric": (([[0, 90, 0], [0, 0, 0], [0, 0, 0]], *STEP, "stress"), "not symmetric"),
    "moved": ((0.05, *STEP, "structure", "sites", 0, "abc", 0), "positions of Na"),
    "position nan": ((float("nan"), *STEP, "structure", "sites", 0, "abc", 0), "not finite"),
    "other species": (
        ([{"element": "K", "occu": 1}], *STEP, "structure", "sites", 0, "species"),
        "was asked for",
    ),
    "partial": (
        ([{"element": "Na", "occu": 0.5}], *STEP, "structure", "sites", 0, "species"),
        "partial occupancies",
    ),
    "other cell": ((6.0, *STEP, "structure", "lattice", "matrix", 0, 0), "cell of the calc"),
    "walltime": (
        ([{"corrections": [{"errors": ["Walltime reached"], "actions": None}]}], "custodian"),
        "wall time",
    ),
    "ISMEAR corrected": (
        (
            [
                {
                    "corrections": [
                        {
                            "handler": "VaspErrorHandler",
                            "errors": ["tet"],
                            "actions": [{"dict": "INCAR", "action": {"_set": {"ISMEAR": 0}}}],
                        }
                    ]
                }
            ],
            "custodian",
        ),
        "ISMEAR=0",
    ),
}


def accept(document, requested):
    label = extract_label(document, requested=requested)
    validate_label(label, requested=requested)
    return label


@pytest.mark.vasp
@pytest.mark.parametrize("case", BAD_VASP)
def test_spoilt_vasp_is_refused(vasp_document, case):
    (value, *path), message = BAD_VASP[case]
    document = copy.deepcopy(vasp_document)
    # positions are read as fractional ones
    put(document, value, *path)
    with pytest.raises(LabelError, match=message):
        accept(document, salt())


@pytest.mark.vasp
@pytest.mark.parametrize("change", [None, 1e-6, 0.05])
def test_sound_vasp_passes(vasp_document, change):
    document = copy.deepcopy(vasp_document)
    if change is not None:  # a drift as VASP leaves it
        put(
            document,
            (
                np.array(document["calcs_reversed"][0]["output"]["ionic_steps"][-1]["forces"])
                + change / 8
            ).tolist(),
            *STEP,
            "forces",
        )
    assert np.isfinite(accept(document, salt()).energy)


@pytest.mark.vasp
def test_scf_that_was_stopped_is_refused(vasp_document):
    document = copy.deepcopy(vasp_document)
    steps = document["calcs_reversed"][0]["output"]["ionic_steps"][-1]["electronic_steps"]
    # a STOPCAR after the second of its steps
    del steps[2:]
    document["calcs_reversed"][0]["output"]["ionic_steps"][-1]["num_electronic_steps"] = 2
    with pytest.raises(LabelError, match="last SCF step still changed"):
        accept(document, salt())


# -- CP2K -----------------------------------------------------------------------------------------
CONVERGED = "*** SCF run converged in    11 steps ***"
CP2K_ENDS = {
    "not converged": ("*** SCF run NOT converged ***", "SCF run NOT converged"),
    "last of two": (f"{CONVERGED}\n  *** SCF run NOT converged ***", "SCF run NOT converged"),
    "outer loop": (
        f"{CONVERGED}\n  outer SCF loop FAILED to converge after  10 iterations or  200 steps",
        "outer SCF loop FAILED",
    ),
}


def cp2k(folder, monkeypatch, verdict, **options):
    task = pytest.importorskip("atomate2.cp2k.schemas.task")
    monkeypatch.setattr(cp2k_files, "OUTPUT", cp2k_files.OUTPUT.replace(CONVERGED, verdict))
    return task.TaskDocument.from_directory(cp2k_files.write_cp2k(folder, **options))


@pytest.mark.parametrize("case", CP2K_ENDS)
@pytest.mark.parametrize("packed", [False, True])
def test_unconverged_cp2k_is_refused(tmp_path, monkeypatch, case, packed):
    verdict, message = CP2K_ENDS[case]
    document = cp2k(tmp_path, monkeypatch, verdict)
    assert str(getattr(document.state, "value", document.state)) == "successful"
    if packed:
        text = (tmp_path / "cp2k.out").read_bytes()
        (tmp_path / "cp2k.out.gz").write_bytes(gzip.compress(text))
        (tmp_path / "cp2k.out").unlink()
    for form in (document, stored(document)):
        with pytest.raises(LabelError, match=f"did not converge .{message}.*MAX_SCF"):
            extract_label(form)


def test_second_attempt_of_cp2k_that_converged_passes(tmp_path, monkeypatch):
    verdict = f"*** SCF run NOT converged ***\n  {CONVERGED}"
    validate_label(extract_label(cp2k(tmp_path, monkeypatch, verdict)))


@pytest.mark.parametrize(
    ("version", "passes"),
    [("9.1", False), ("2023.2", False), ("2024.1", True), ("2025.1", True)],
)
def test_cp2k_without_its_output_must_stop_by_itself(tmp_path, monkeypatch, version, passes):
    document = stored(cp2k(tmp_path, monkeypatch, CONVERGED, version=version))
    (tmp_path / "cp2k.out").unlink()
    if passes:
        extract_label(document)
    else:
        with pytest.raises(LabelError, match=r"unknown.*cp2k\.out cannot be read"):
            extract_label(document)


# -- others ---------------------------------------------------------------------------------------
def test_several_steps_of_an_ase_maker_are_no_single_point(copper):
    document = stored(AseLabelMaker(calculator="ase.calculators.emt.EMT").run(copper))
    document["output"]["n_steps"] = 7
    with pytest.raises(LabelError, match=r"7 steps of a relaxation.*steps=1"):
        extract_label(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Self-consistency cycle converged.", None),
        ("** WARNING! SELF-CONSISTENCY CYCLE DID NOT CONVERGE", "CYCLE DID NOT CONVERGE"),
    ],
)
def test_aims_output_is_read(tmp_path, text, message):
    (tmp_path / "aims.out").write_text(f"begin\n {text}\nend\n")
    if message is None:
        require_converged({"state": "successful"}, "aims", f"host:{tmp_path}")
    else:
        with pytest.raises(LabelError, match=message):
            require_converged({"state": "successful"}, "aims", f"host:{tmp_path}")


@pytest.mark.parametrize(
    "document",
    [None, {}, [], "text", 3, {"@module": "os"}, {"vasp_version": 6}, {"ase_calculator_name": "x"}],
)
def test_what_is_no_document_is_refused(document):
    with pytest.raises(LabelError):
        extract_label(document)


@pytest.mark.parametrize(
    ("limit", "passes"), [(0.02, False), (0.031, True), (None, True), (0.0, False)]
)
def test_limit_of_the_net_force_can_be_set(copper, limit, passes):
    label = extract_label(AseLabelMaker(calculator="ase.calculators.emt.EMT").run(copper))
    label.forces = (np.array(label.forces) + np.array([0, 0, 0.03])).tolist()
    if passes:
        validate_label(label, max_net_force=limit)
    else:
        with pytest.raises(LabelError, match="do not sum to zero"):
            validate_label(label, max_net_force=limit)


def test_site_order_of_many_equal_atoms_needs_little_memory():
    """A table of all distances of 20 000 atoms would hold 3 GB."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(28)] * 3, indexing="ij"), -1).reshape(-1, 3)[:20_000]
    ours = Structure(Lattice.cubic(84), ["H"] * len(grid), (grid + 0.5) / 28)
    order = np.arange(len(grid))
    assert np.array_equal(site_order(ours, ours), order)
    swapped = order.copy()
    swapped[[3, 7]] = [7, 3]
    theirs = Structure(ours.lattice, ours.species, ours.frac_coords[swapped])
    small = Structure.from_sites(theirs[:50]), Structure.from_sites(ours[:50])
    assert site_order(*small)[3] == 7
    nan = ours.frac_coords[:50].copy()
    nan[int(rng.integers(50))] = np.nan
    with pytest.raises(LabelError, match="positions"):
        site_order(small[1], Structure(ours.lattice, ["H"] * 50, nan))
