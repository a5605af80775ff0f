from __future__ import annotations

import json
from pathlib import Path

import ase.io
import matplotlib.image
import numpy as np
import pytest
from ase.geometry import get_distances

from onfly.flows import OnTheFlyMaker
from onfly.rounds.new import new_run
from onfly.spec import FoundationSpec, PosteriorSpec, ProofSpec, Tolerance
from onfly.spec.campaign import CampaignFile
from onfly.spec.files import RunFile
from onfly.spec.yaml import load
from onfly.structures import read_structure
from onfly.units import EV_PER_KCAL_MOL
from tests.examples.conftest import ROOT

EXPERIMENTS = ("ethanol", "lamno3", "cazrs3_h", "surface_adsorbate")
CONFIGS = sorted(p for name in EXPERIMENTS for p in (ROOT / "workflows" / name).glob("*.yaml"))
ELSEWHERE = {"NbSiAs_COH.vasp"}  # from OC20, as the README says


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_configuration_is_valid(path):
    file = load(path, RunFile)
    if file.structure.name in ELSEWHERE:
        assert file.structure.name in (path.parent / "README.md").read_text()
    else:
        run = new_run(file.spec, read_structure(file.structure, file.periodic))
        assert run.posterior.threshold_ev > 0
    readme = (path.parent / "README.md").read_text()
    assert f"`{path.name}`" in readme


def test_campaign_template_is_valid():
    file = load(ROOT / "workflows" / "campaign.yaml", CampaignFile)
    assert file.settings_for("CaZrS3").tolerance[0].value == pytest.approx(0.03)
    assert file.spec.tolerance[0].value == pytest.approx(0.05)


def test_published_settings():
    """What the paper says about its runs, in the files."""

    def read(path):
        return load(ROOT / "workflows" / path, RunFile)

    def times(spec):
        step = spec.trajectories.time_step
        return [(s.n_steps * step / 1000, s.temperature) for s in spec.trajectories.stages]

    ethanol = read("ethanol/run.yaml").spec
    assert ethanol.tolerance[0].value == pytest.approx(0.5 * EV_PER_KCAL_MOL)
    assert times(ethanol) == [(10, 300)]
    box = read_structure(ROOT / "workflows/ethanol/ethanol_box.vasp")
    assert box.lattice.abc == pytest.approx((30, 30, 30))
    assert len(box) == 9

    assert times(read("lamno3/run.yaml").spec) == [(25, 300), (100, 800), (25, 300)]

    for k in (5, 15):
        file = read(f"cazrs3_h/run_K{k}.yaml")
        structure = read_structure(file.structure)
        assert structure.composition.as_dict() == {"Ca": 32, "Zr": 32, "S": 96, "H": 2}
        threshold = new_run(file.spec, structure).posterior.threshold_ev
        assert threshold == pytest.approx(k * EV_PER_KCAL_MOL)
        assert times(file.spec) == [(30, 1500)]
        assert file.spec.posterior.kind == "sghmc"
        assert file.spec.posterior.options["n_steps"] == 2000


def test_structures_are_sane():
    """Bonds have the lengths that the materials have."""

    def bonds(file, centre, ligand, n):
        atoms = ase.io.read(ROOT / "workflows" / file)
        symbols = np.array(atoms.get_chemical_symbols())
        a, b = atoms.positions[symbols == centre], atoms.positions[symbols == ligand]
        return np.sort(get_distances(a, b, cell=atoms.cell, pbc=atoms.pbc)[1], axis=1)[:, :n]

    mn_o = bonds("lamno3/LaMnO3_160.vasp", "Mn", "O", 6)
    assert mn_o[:, 0] == pytest.approx(1.905, abs=0.01)
    assert mn_o[:, 5] == pytest.approx(2.18, abs=0.01)
    zr_s = bonds("cazrs3_h/CaZrS3_20.vasp", "Zr", "S", 6)
    assert zr_s.min() > 2.5
    assert zr_s.max() < 2.6
    assert bonds("cazrs3_h/CaZrS3_160_2H.vasp", "H", "S", 1) == pytest.approx(1.36, abs=0.001)


def short(folder, **stage):
    """Return the small variant with a toy model, a few steps and no proof, and its structure."""
    file = load(ROOT / "workflows" / folder / "small.yaml", RunFile)
    trajectories = file.spec.trajectories
    spec = file.spec.evolve(
        foundation=FoundationSpec(source="toy"),
        # labels come by warm-up and audits: this is about the scripts
        tolerance=(Tolerance(quantity="energy", value=1000.0),),
        posterior=PosteriorSpec(
            kind="sghmc", options={"n_members": 2, "n_steps": 2, "batch_size": 1}
        ),
        trajectories=trajectories.evolve(
            stages=tuple(s.evolve(**stage) for s in trajectories.stages), traj_interval=1
        ),
        proof=ProofSpec(attempts=0),
    )
    return file.model_copy(update={"spec": spec}), read_structure(file.structure, file.periodic)


def finish(file, structure, machine):
    from jobflow import run_locally

    from onfly.stores import job_store

    flow = OnTheFlyMaker(spec=file.spec, mode=file.mode).make(structure, run_id=file.run_id)
    run_locally(flow, store=job_store(), ensure_success=True, log=False)
    return machine / "artifacts" / "runs" / file.run_id


def check_figure(path):
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 300
    assert image[..., :3].std() > 0.02  # not a blank page


def test_ethanol_from_configuration_to_figure(run_script, machine):
    pytest.importorskip("tblite")
    config, structure = short("ethanol", n_steps=25, temperature=50.0)
    folder = finish(config, structure, machine)
    run_script("workflows/ethanol/analyse.py", folder, "--out", machine / "ethanol")
    summary = json.loads((machine / "ethanol.json").read_text())
    assert summary["n_steps"] == 25
    assert summary["n_labels"] > 1
    check_figure(machine / "ethanol.png")


@pytest.mark.slow
def test_lamno3_from_configuration_to_figure(run_script, machine):
    pytest.importorskip("tblite")
    config, structure = short("lamno3", n_steps=8, temperature=100.0)
    folder = finish(config, structure, machine)
    run_script("workflows/lamno3/analyse.py", folder, "--out", machine / "lamno3")
    summary = json.loads((machine / "lamno3.json").read_text())
    assert len(summary["distortion_by_stage"]) == 3
    assert sum(summary["labels_by_stage"]) == summary["n_labels"]
    check_figure(machine / "lamno3.png")


@pytest.mark.slow
def test_cazrs3_from_configuration_to_production(run_script, machine):
    pytest.importorskip("tblite")
    config, structure = short("cazrs3_h", n_steps=12, temperature=100.0)
    folder = finish(config, structure, machine)
    out = run_script(
        "workflows/cazrs3_h/production.py", config.run_id, "--runs", 2, "--steps", 40,
        "--temperature", 100.0,
    )  # fmt: skip
    assert out.count("finished") == 2
    produced = [folder.with_name(f"{config.run_id}-production-{i}") for i in (0, 1)]
    run_script(
        "workflows/cazrs3_h/analyse.py", folder, "--production", *produced,
        "--out", machine / "cazrs3",
    )  # fmt: skip
    summary = json.loads((machine / "cazrs3.json").read_text())
    assert summary["production"]["n_runs"] == 2
    assert summary["runs"][0]["n_labels"] > 1
    check_figure(machine / "cazrs3.png")


@pytest.mark.slow
def test_surface_from_configuration_to_figure(run_script, machine):
    pytest.importorskip("tblite")
    config, structure = short("surface_adsorbate", n_steps=15, temperature=50.0)
    folder = finish(config, structure, machine)
    run_script("workflows/surface_adsorbate/analyse.py", folder, "--out", machine / "surface")
    assert json.loads((machine / "surface.json").read_text())["n_audits"] > 0
    check_figure(machine / "surface.png")


def molecules(path, n=30):
    """Write an xyz and an npz file of rattled molecules with the same labels."""
    from ase.build import molecule
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for seed in range(n):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    ase.io.write(path / "water.extxyz", frames)
    np.savez(
        path / "water.npz",
        nuclear_charges=frames[0].numbers,
        coords=np.array([a.positions for a in frames]),
        energies=np.array([a.get_potential_energy() for a in frames]) / EV_PER_KCAL_MOL,
        forces=np.array([a.get_forces() for a in frames]) / EV_PER_KCAL_MOL,
    )


def test_static_learning_curves(run_script, machine):
    molecules(machine)
    rows = []
    for kind in ("extxyz", "npz"):
        run_script(
            "workflows/molecules/learn.py", "--data", machine / f"water.{kind}",
            "--foundation", "toy", "--sizes", 3, 12, "--n-test", 10, "--members", 2,
            "--steps", 150, "--out", machine / kind,
        )  # fmt: skip
        rows.append(json.loads((machine / f"{kind}.json").read_text()))
        check_figure(machine / f"{kind}.png")
    # units: both files say the same
    assert rows[0][0]["energy_rmse_kcal_mol"] == pytest.approx(rows[1][0]["energy_rmse_kcal_mol"])
    assert [row["n_labels"] for row in rows[0]] == [0, 3, 12]
    assert rows[0][2]["force_rmse_kcal_mol_A"] < rows[0][0]["force_rmse_kcal_mol_A"]
