"""A stranger's first day: pages followed to the letter, from an empty home directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.conftest import ROOT

pytestmark = pytest.mark.slow
README = (ROOT / "README.md").read_text()
# what a copy of the repository does not need
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "site", "onfly-demo", "dist")


@pytest.fixture
def stranger(tmp_path):
    """Run a block in bash, with nothing of this machine's settings."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    kept = ("PATH", "LANG", "TMPDIR", "PIP_", "HTTP", "http", "SSL", "REQUESTS_CA", "OMP_")
    env = {k: v for k, v in os.environ.items() if k.startswith(kept)}
    env["HOME"] = str(home)

    def run(block, folder=work, timeout=1200, **more):
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", block],
            cwd=folder,
            env=env | more,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    run.folder = work
    return run


def follow_first_day(stranger, **env):
    """Blocks with a file name in the first line are saved, those of the shell run."""
    page = (ROOT / "docs/first_day.md").read_text()
    said, exported = {}, ""
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", page, re.M | re.S):
        if language == "bash":
            said[text] = stranger(exported + text, **env)
            exported += "".join(f"{x}\n" for x in text.splitlines() if x.startswith("export "))
        else:
            name = re.match(r"# ([\w.]+)\n", text)[1]
            (stranger.folder / name).write_text(text)
    everything = "\n".join(said.values())
    assert "nothing is missing for this file" in everything
    assert "copper: ready" in everything
    assert "silver: needs more audits" in everything
    assert "3 compounds:" in everything
    assert re.search(r"^Cu-\w+ ready \d+ labels$", everything, re.M)
    assert re.search(r"^-?[\d.]+ ± [\d.]+ eV$", everything, re.M)
    assert "finished 100 steps" in everything
    assert (stranger.folder / "compare.html").is_file()
    assert Path(everything.strip().splitlines()[-1]).name == "report.html"


@pytest.mark.timeout(1800)
def test_the_first_day_page(stranger):
    # the commands of this environment, and the package of this checkout
    tools = stranger.folder.parent / "bin"
    tools.mkdir()
    command = tools / "onfly"
    # the guard is that of pip's scripts: chains run in processes that import the main module
    command.write_text(
        f"#!{sys.executable}\nfrom onfly.cli import main\nif __name__ == '__main__':\n    main()\n"
    )
    command.chmod(0o755)
    python = tools / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT / 'src'}"}
    follow_first_day(stranger, **env)


def section(heading):
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.timeout(5400)
def test_the_readme_from_installation_to_a_report(stranger):
    """Installation, demo, use of the model, and the page of the first day in what was installed.

    Needs a package index and 3 GB.
    """
    clone = stranger.folder / "onfly"
    shutil.copytree(ROOT, clone, ignore=LEFT_OUT)
    install = re.search(r"^```bash\n(.*?)^```", section("Install"), re.M | re.S)[1]
    stranger(install, clone, timeout=2400)
    after = section("What the demo shows")
    out = stranger("env/bin/onfly demo --quiet", clone, timeout=2400)
    assert "demo: ready" in out
    commands = re.search(r"^```bash\n(.*?)^```", after, re.M | re.S)[1]
    out = stranger(commands.replace(".venv/bin", "env/bin"), clone)
    assert "demo" in out
    assert out.strip().splitlines()[-1].endswith("report.html")
    script = re.search(r"^```python\n(.*?)^```", after, re.M | re.S)[1]
    (clone / "use.py").write_text(script)
    energy, std = map(float, stranger("env/bin/python use.py", clone).split())
    assert std > 0
    assert abs(energy) > 1
    assert "(docs/first_day.md)" in section("Run one compound")
    follow_first_day(stranger, PATH=f"{clone / 'env/bin'}:{os.environ['PATH']}")
