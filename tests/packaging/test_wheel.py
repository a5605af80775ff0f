"""What a user gets who installs the wheel, and not this checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason='pip install "onfly[test]" brings what builds it')
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


def test_every_file_of_the_package_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        there = {n for n in archive.namelist() if n.startswith("onfly/")}
    folder = ROOT / "src"
    files = {
        str(path.relative_to(folder))
        for path in (folder / "onfly").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == files
    assert "onfly/py.typed" in there
    assert {"onfly/cli/demo.yaml", "onfly/report/templates/run.html.j2"} <= there
    assert not any(name.startswith("tests") for name in there)


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        (points,) = (n for n in names if n.endswith(".dist-info/entry_points.txt"))
        text, scripts = archive.read(metadata).decode(), archive.read(points).decode()
    assert f"\nVersion: {PROJECT['version']}\n" in text
    for extra in PROJECT["optional-dependencies"]:
        assert f"\nProvides-Extra: {extra}\n" in text
    assert "onfly = onfly.cli:main" in scripts
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_what_is_installed_from_it_works_without_the_checkout(wheel, tmp_path):
    """Installed into a folder of its own; the dependencies are those of this environment."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(wheel)], check=True, cwd=tmp_path)
    script = """
import onfly, onfly.cli.demo, onfly.report.page
assert onfly.__file__.startswith(SITE), onfly.__file__
print(onfly.__version__)
from importlib.resources import files
assert files("onfly.cli").joinpath("demo.yaml").is_file()
from onfly.spec import RunSpec
RunSpec.from_flat({"threshold": "1 meV", "stages": [{"n_steps": 1}]})
"""
    run = subprocess.run(
        [sys.executable, "-c", script.replace("SITE", repr(str(site)))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == PROJECT["version"]


def test_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == "BSD-3-Clause"
    assert citation["preferred-citation"]["doi"] in PROJECT["urls"]["Paper"]


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").glob("*.txt")), ids=lambda p: p.stem)
def test_constraints_pin_everything_but_torch(path):
    lines = [x for x in path.read_text().splitlines() if x and not x.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line
        assert "+" not in line, f"{line}: a local build, which the package index does not have"
    names = {line.partition("==")[0].lower() for line in lines}
    assert "torch" not in names, "which build of torch fits is for the machine to say"
    assert "onfly" not in names
