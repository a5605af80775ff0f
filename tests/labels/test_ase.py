from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from jobflow import run_locally
from monty.json import MontyDecoder, jsanitize
from pymatgen.core import Molecule

from onfly.labels.ase import AseLabelMaker
from onfly.labels.errors import LabelError
from onfly.labels.single_point import to_atoms

# calculators with faults, importable by the process of its own through PYTHONPATH
FAULTY = """
import os, subprocess, sys, time
from ase.calculators.emt import EMT

class Sleeper(EMT):
    def calculate(self, *args):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(os.environ["PID_FILE"], "w") as file:
            file.write(str(child.pid))
        time.sleep(60)

class Crasher(EMT):
    def calculate(self, *args):
        os.abort()

class Unconverged(EMT):
    def calculate(self, *args):
        raise RuntimeError("SCF not converged")

class Smeared(EMT):
    implemented_properties = ["energy", "free_energy", "forces", "stress"]
    def calculate(self, *args):
        super().calculate(*args)
        self.results["free_energy"] = self.results["energy"] - 0.25
"""


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    (tmp_path / "faulty_calculators.py").write_text(FAULTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "faulty_calculators"
    sys.modules.pop("faulty_calculators", None)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_own_process_gives_the_same_numbers(copper):
    here = AseLabelMaker(calculator="ase.calculators.emt.EMT").run(copper)
    there = AseLabelMaker(calculator="ase.calculators.emt.EMT", time_limit=60).run(copper)
    assert there.output.energy == here.output.energy
    assert there.output.forces == here.output.forces
    assert there.output.stress == here.output.stress


def test_time_limit_kills_the_calculator_and_its_children(copper, faulty, tmp_path):
    for limit in (4.0, 30.0):
        maker = AseLabelMaker(calculator=f"{faulty}.Sleeper", time_limit=limit)
        start = time.time()
        with pytest.raises(LabelError, match=f"time limit of {limit:.0f} s") as caught:
            maker.run(copper)
        assert time.time() - start < limit + 16
        if (tmp_path / "pid").exists():  # on a busy machine it may not have begun in four seconds
            break
    assert caught.value.directory == str(tmp_path)
    pid = int((tmp_path / "pid").read_text())
    time.sleep(0.2)
    assert not alive(pid)


def test_crash_is_a_failed_label(copper, faulty):
    maker = AseLabelMaker(calculator=f"{faulty}.Crasher", in_process=False)
    with pytest.raises(LabelError, match="exit code -6"):
        maker.run(copper)


@pytest.mark.parametrize("limit", [None, 60.0])
def test_failed_scf_is_a_failed_label(copper, faulty, limit):
    maker = AseLabelMaker(calculator=f"{faulty}.Unconverged", time_limit=limit)
    with pytest.raises(LabelError, match="SCF not converged") as caught:
        maker.run(copper)
    assert caught.value.directory


def test_old_result_is_never_taken_for_a_new_one(copper, faulty):
    AseLabelMaker(calculator="ase.calculators.emt.EMT", time_limit=60).run(copper)
    with pytest.raises(LabelError, match="crashed"):
        AseLabelMaker(calculator=f"{faulty}.Crasher", time_limit=60).run(copper)


def test_free_energy_is_kept_apart(copper, faulty):
    from onfly.labels.extract import extract_label

    output = AseLabelMaker(calculator=f"{faulty}.Smeared").run(copper)
    label = extract_label(output)
    assert label.energy_key == "e_fr_energy"
    assert label.energy == pytest.approx(output.output.energy - 0.25)
    assert extract_label(output, energy_key="e_0_energy").energy == output.output.energy


def test_as_a_job_through_serialisation(copper, water):
    maker = AseLabelMaker(calculator="ase.calculators.emt.EMT", tags=["t"])
    maker = MontyDecoder().process_decoded(jsanitize(maker.as_dict(), strict=True))
    for structure in (copper, water):
        job = maker.make(structure)
        output = run_locally(job, ensure_success=True, log=False)[job.uuid][1].output
        assert np.isfinite(output.output.energy)
        assert output.tags == ["t"]
        # no trajectory: what a later job references carries no blobs
        assert output.output.ionic_steps is None
        assert not output.included_objects


def test_charge_and_spin_reach_the_atoms(water):
    radical = Molecule(water.species, water.cart_coords, charge=1, spin_multiplicity=2)
    atoms = to_atoms(radical)
    assert atoms.get_initial_charges().sum() == pytest.approx(1)
    assert atoms.get_initial_magnetic_moments().sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"calculator": "emt"}, "dotted name"),
        ({"time_limit": 0.0}, "positive"),
        ({"time_limit": 1.0, "in_process": True}, "process of its own"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        AseLabelMaker(**fields)


def test_missing_calculator(copper):
    with pytest.raises(LabelError, match="cannot be imported"):
        AseLabelMaker(calculator="no_such_package.Calculator").run(copper)
    with pytest.raises(LabelError, match="unexpected"):
        AseLabelMaker(
            calculator="ase.calculators.emt.EMT", calculator_kwargs={"unexpected": 1}
        ).run(copper)


def test_version_of_a_calculator_of_ones_own_is_searched_once(monkeypatch):
    """A class that belongs to no distribution must not cost a search with every label."""
    from onfly.labels import ase

    searches = []
    monkeypatch.setattr(
        ase.importlib.metadata, "packages_distributions", lambda: searches.append(1) or {}
    )
    ase._version_of.cache_clear()
    assert [ase._version_of("my_calculators_xyz") for _ in range(3)] == [None] * 3
    assert len(searches) == 1
    ase._version_of.cache_clear()
