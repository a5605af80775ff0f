"""The examples of docs/extending.md, saved as files and used as a reader does."""

from __future__ import annotations

import importlib
import re
import sys

import numpy as np
import pytest
import yaml
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces

from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import PosteriorState, posterior_from_dict
from onfly.dynamics.criteria import AnyOf, Calibrations, Criterion, EnergyCriterion
from onfly.dynamics.driver import Finished, LabelRequest, Moved
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.state import MDState
from onfly.jobs.resident import run_loop
from onfly.labels.presets import label_maker
from onfly.potentials import load_foundation
from onfly.rounds.new import new_run
from onfly.spec.files import RunFile
from onfly.spec.yaml import load
from onfly.testing.contracts import check_potential
from tests.examples.conftest import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text()
MODULES = ("my_labeller", "my_potential", "my_posterior", "my_region", "my_criterion", "my_driver")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install the blocks of the page as pip would: modules and entry points."""
    blocks = re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```", PAGE, re.M | re.S)
    assert [name for name, _ in blocks] == list(MODULES)
    for name, code in blocks:
        (tmp_path / f"{name}.py").write_text(code)
    points = re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)
    info = tmp_path / "my_package-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 0.1\n")
    lines = ""
    for point in points:
        line = r'\[project\.entry-points\."([\w.]+)"\]\n(.+)\n'
        group, names = re.fullmatch(line, point).groups()
        lines += f"[{group}]\n{names.replace(chr(34), '')}\n"
    (info / "entry_points.txt").write_text(lines)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in MODULES:  # examples have modules of these names too
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def crystal():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def predictor(posterior):
    potential = load_foundation("toy", elements=["Cu"])
    members = posterior.initial(potential, ("test",)).members
    moved = tuple(
        {k: v + 1e-3 * (i + 1) for k, v in member.items()} for i, member in enumerate(members)
    )
    state = PosteriorState(posterior.kind, moved)
    scales = LikelihoodScales(energy_std=1e-4)
    return Predictor(potential, posterior, state, scales, strategy="sequential")


def test_labeller_has_one_surface(package, crystal):
    crystal.calc = importlib.import_module("my_labeller").ScaledEMT(factor=1.05)
    assert crystal.get_forces() == pytest.approx(
        calculate_numerical_forces(crystal, eps=1e-4), abs=1e-5
    )
    plain = crystal.copy()
    plain.calc = EMT()
    assert crystal.get_potential_energy() == pytest.approx(1.05 * plain.get_potential_energy())
    assert crystal.get_stress() == pytest.approx(1.05 * plain.get_stress())


def test_potential_keeps_the_contract(package, crystal):
    potential = load_foundation("my-morse", elements=["Cu"])
    check_potential(potential, crystal)


def test_labeller_and_potential_carry_a_run(package, spec, structure):
    text = next(
        t for t in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S) if "ScaledEMT" in t
    )
    given = yaml.safe_load(text)["labeller"]
    settings = spec(foundation_model="my-morse", threshold="200 meV")
    state = new_run(settings, structure, run_id="outside")
    state = run_loop(state, [structure], label_maker(given["name"], **given["kwargs"]))
    assert state.phase == "publish"
    assert state.posterior.n_labels > 0


def test_posterior_is_found_and_widens_the_error_bar(package, crystal):
    plain = posterior_from_dict({"kind": "last_layer", "n_members": 2})
    careful = posterior_from_dict({"kind": "careful", "n_members": 2, "factor": 3.0})
    found = [predictor(p).predict(crystal).energy_std ** 2 - 1e-8 for p in (plain, careful)]
    assert found[1] == pytest.approx(9 * found[0], rel=1e-6)


def test_posterior_in_a_file(package):
    path = package / "run.yaml"
    path.write_text(
        "structure: POSCAR\nthreshold: 50 meV\nlabeller: emt\nstages: [{n_steps: 10}]\n"
        "posterior: {kind: careful, factor: 3.0}\n"
    )
    spec = load(path, RunFile).spec
    made = posterior_from_dict({"kind": spec.posterior.kind, **spec.posterior.options})
    assert made.factor == 3.0


def test_region_selects_the_top_layer(package):
    from pymatgen.io.ase import AseAtomsAdaptor

    from onfly.spec import RunSpec

    text = re.search(r"^```yaml\n(tolerance:\n.*?)^```", PAGE, re.M | re.S)[1]
    spec = RunSpec.from_flat({**yaml.safe_load(text), "stages": [{"n_steps": 10}]})
    slab = fcc111("Cu", (1, 1, 3), vacuum=8.0, periodic=True)
    run = new_run(spec, AseAtomsAdaptor.get_structure(slab))
    (chosen,) = run.posterior.tolerance_atoms.values()
    assert list(chosen) == [int(np.argmax(slab.positions[:, 2]))]


def test_criterion(package, crystal):
    relative = importlib.import_module("my_criterion").RelativeCriterion
    prediction = predictor(posterior_from_dict({"kind": "sghmc", "n_members": 2})).predict(crystal)
    assert isinstance(relative(), Criterion)
    assert relative(1e-12).assess(prediction, Calibrations()).fires
    assert not relative(1e12).assess(prediction, Calibrations()).fires
    joined = AnyOf([EnergyCriterion(1e6), relative(1e-12)])
    assert joined.assess(prediction, Calibrations()).quantity == "relative energy"


def test_driver_goes_downhill_to_its_end(package, crystal):
    descent = importlib.import_module("my_driver").DescentDriver
    model = predictor(posterior_from_dict({"kind": "sghmc", "n_members": 2}))
    first = model.predict(crystal)
    state = MDState(
        numbers=crystal.numbers,
        pbc=crystal.pbc,
        positions=crystal.positions,
        momenta=np.zeros((len(crystal), 3)),
        cell=crystal.cell.array,
        step=0,
        energy=first.energy,
        forces=first.forces,
        stress=None,
        source="model",
    )
    _, event = descent(model, EnergyCriterion(1e-6), Calibrations()).step(state)
    assert isinstance(event, LabelRequest)
    driver = descent(model, EnergyCriterion(1e6), Calibrations())
    energies = [state.energy]
    for _ in range(200):
        state, event = driver.step(state)
        if isinstance(event, Finished):
            break
        assert isinstance(event, Moved)
        energies.append(state.energy)
    assert isinstance(event, Finished)
    assert len(energies) > 1
    assert energies[-1] < energies[0]
