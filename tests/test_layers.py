"""The layers of the package import only from those above them in the list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import onfly

ROOT = Path(onfly.__file__).parent
LAYERS = [
    {"units", "seeds", "settings", "spec", "structures"},
    {"potentials"},
    {"bayes", "proof"},
    {"learning"},
    {"schemas"},
    {"dynamics"},
    {"artifacts"},
    {"labels"},  # a store of labels is made of artifacts' atomic files
    {"session"},
    {"rounds"},
    {"stores"},
    {"library", "calculators"},  # a model of the library is used as a calculator
    {"classes"},  # a class learns the labels of the library
    {"analysis"},  # of trajectories; knows nothing of runs
    {"properties"},  # measured by the calculators of models
    {"jobs"},  # production runs start from a model of the library
    {"flows"},
    {"report"},
    {"testing"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def layer_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("onfly."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("onfly."):
                    yield alias.name.split(".")[1]


def violations(path):
    own = layer_of(path)
    return [name for name in imported(path) if RANK[name] > RANK[own]]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_upwards_in_the_list(path):
    assert layer_of(path) in RANK, f"{path} belongs to no layer"
    assert not violations(path)


def test_bayes_knows_no_jobs_and_dynamics_no_database():
    for path in modules():
        if layer_of(path) in ("bayes", "dynamics", "potentials"):
            text = path.read_text()
            assert "jobflow" not in text.replace("no jobflow", ""), path
            assert "maggma" not in text, path


def test_a_violation_would_show(tmp_path):
    assert RANK["bayes"] < RANK["jobs"]
    path = tmp_path / "x.py"
    path.write_text("from onfly.jobs.base import otf_job\n")
    assert [name for name in imported(path) if RANK[name] > RANK["bayes"]] == ["jobs"]


def test_no_module_is_longer_than_400_lines():
    lengths = {path: len(path.read_text().splitlines()) for path in modules()}
    assert max(lengths.values()) <= 400
    ordered = sorted(lengths.values())
    assert ordered[len(ordered) // 2] <= 160


def test_the_library_neither_prints_nor_unpickles():
    for path in modules():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if layer_of(path) != "cli":
                    assert name != "print", path
                # parallel.py: what the parent process sends to its own workers
                if path.name != "parallel.py":
                    assert name not in ("pickle.load", "pickle.loads", "joblib.load"), path
