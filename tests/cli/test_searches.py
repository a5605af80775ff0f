"""Relaxations and paths from a file to what the command says of them."""

from __future__ import annotations

import json

from tests.cli.test_kill import command
from tests.flows.test_searches import minima

CONFIG = """\
structure: initial.vasp
foundation_model: toy
labeller: emt
threshold: 1 eV
posterior: {kind: last_layer, n_steps: 40}
n_workers: 1
"""
PATH = (
    CONFIG
    + """\
final_structure: final.vasp
walkers: 3
stages: [{driver: neb, n_steps: 60, fmax: 0.1 eV/Å}]
"""
)


def folder(home, text):
    home.mkdir()
    for name, structure in zip(("initial", "final"), minima(), strict=True):
        structure.to(str(home / f"{name}.vasp"), fmt="poscar")
    (home / "run.yaml").write_text(text)
    return home


def run(home, *words):
    done = command(home, "never", *words)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_path_from_a_file(tmp_path):
    home = folder(tmp_path / "home", PATH)
    code, told = run(home, "plan", "run.yaml", "--json", "--measure")
    assert code == 0, told
    (plan,) = json.loads(told)
    assert (plan["initial_labels"], plan["proof_labels"][0]) == (2, 3)
    assert plan["update_seconds"] > 0
    code, told = run(home, "run", "run.yaml", "--run-id", "r", "--quiet")
    assert code == 0, told
    document = home / "artifacts" / "runs" / "r" / "barrier.json"
    found = json.loads(document.read_text())
    assert len(found["images"]) == 3
    assert f"barrier forward: {found['forward']['labelled']:.4f} eV by the labels" in told
    assert f"barrier backward: {found['backward']['labelled']:.4f} eV by the labels" in told
    assert f"document: {document}" in told
    # both ends are kept, and another one is refused
    (home / "final.vasp").rename(home / "away.vasp")
    code, told = run(home, "resume", "r", "--quiet")
    assert code == 0, told
    code, told = run(home, "resume", "r", "--config", "run.yaml", "--quiet")
    assert "no setting differs" in told
    (home / "other.yaml").write_text(PATH.replace("final.vasp", "initial.vasp"))
    code, told = run(home, "resume", "r", "--config", "other.yaml", "--quiet")
    assert code == 2
    assert "the run began from another one" in told


def test_a_relaxation_from_a_file(tmp_path):
    text = CONFIG + "stages: [{driver: relax, n_steps: 100, fmax: 0.05 eV/Å}]\n"
    home = folder(tmp_path / "home", text)
    code, told = run(home, "run", "run.yaml", "--run-id", "r", "--quiet")
    assert code == 0, told
    found = json.loads((home / "artifacts" / "runs" / "r" / "relaxation.json").read_text())
    (relaxed,) = found["relaxed"]
    assert f"relaxed in {relaxed['n_steps']} steps to {relaxed['energy']:.4f} eV" in told


def test_ends_that_are_missing_or_too_many(tmp_path):
    home = folder(tmp_path / "home", PATH.replace("final_structure: final.vasp\n", ""))
    code, told = run(home, "run", "run.yaml")
    assert code == 2
    assert "final_structure is missing: a path (`driver: neb`) has two ends" in told
    one_end = PATH.replace("final.vasp", "initial.vasp")
    (home / "run.yaml").write_text(one_end)
    code, told = run(home, "run", "run.yaml", "--dry-run")
    assert code == 2
    assert "same configuration" in told
    md = PATH.replace("{driver: neb, n_steps: 60, fmax: 0.1 eV/Å}", "{n_steps: 5}")
    (home / "run.yaml").write_text(md)
    code, told = run(home, "run", "run.yaml")
    assert code == 2
    assert "final_structure is the other end of a path" in told
