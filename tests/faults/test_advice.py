"""What a message advises works when it is followed to the letter."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from onfly import load_calculator
from onfly.artifacts import ArtifactError
from tests.faults.inputs.case import BOX, COPPER, Case, settings
from tests.faults.runner import invoke, prepare
from tests.faults.test_fuzz import RUN

CHECK = ("run", "run.yaml", "--dry-run")
V0_1 = Path(__file__).parents[1] / "data/v0_1/artifacts/runs/v0-1"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return a function that writes files into the working directory."""
    here = tmp_path / "home"
    prepare(Case("", ""), here, monkeypatch)

    def write(text, **files):
        (here / "run.yaml").write_text(text)
        for name, content in files.items():
            raw = content.encode() if isinstance(content, str) else content
            (here / name.replace("_", ".")).write_bytes(raw)
        return here

    return write


def refused(*words):
    ended = invoke(*(words or CHECK))
    assert ended.code == 2, ended.text
    return ended.text


def accepted(*words):
    ended = invoke(*(words or CHECK))
    assert ended.code == 0, ended.text


@pytest.mark.parametrize(
    ("changes", "advice", "mended"),
    [
        ({"threshold": None}, r"such as `([^`]+)`", {"threshold": "{}"}),
        ({"stages": None}, r"such as `([^`]+)`", {"stages": "{}"}),
        ({"threshold": "100"}, r"write for example '([^']+)'", {"threshold": "{}"}),
        ({"threshold": "some"}, r"such as '([^']+)'", {"threshold": "{}"}),
        ({"audit_intervall": "5"}, r"did you mean (\w+)\?", {"audit_intervall": None, "{}": "5"}),
        ({"labeller": "emtt"}, r"use one of (\w+)", {"labeller": "{}"}),
        ({"foundation_model": "chgnet-0.3.1"}, r"did you mean (\S+)", {"foundation_model": "{}"}),
        (
            {"stages": "[{n_steps: 5, ensemble: npt}]"},
            r"\((\S+) for ambient\)",
            {"stages": "[{{n_steps: 5, ensemble: npt, pressure: {}}}]"},
        ),
        (
            {"stages": "[{n_steps: 5, dynamics: andersen}]"},
            r"use (\w+)",
            {"stages": "[{{n_steps: 5, dynamics: {}}}]"},
        ),
        (
            {"labeller": "{name: emt, kwargs: {asap_cutof: true}}"},
            r"did you mean '(\w+)'",
            {"labeller": "{{name: emt, kwargs: {{{}: true}}}}"},
        ),
        ({"max_atoms": "3"}, r"`max_atoms: (\d+)`", {"max_atoms": "{}"}),
        (
            {"calibration": "{shape: 1}"},
            r"give (\w+) as well",
            {"calibration": "{{shape: 1, {}: 5}}"},
        ),
        ({"posterior": "magic"}, r"use one of (\w+)", {"posterior": "{}"}),
        (
            {"stopping": "{min_audits: 3}"},
            r"write `proof: (\{.*?\})`",
            {"stopping": None, "proof": "{}"},
        ),
    ],
)  # fmt: skip
def test_a_settings_file_mended_as_advised_is_good(home, changes, advice, mended):
    home(settings(changes))
    (found,) = re.search(advice, refused()).groups()
    after = {k.format(found): None if v is None else v.format(found) for k, v in mended.items()}
    home(settings({**changes, **after}))
    accepted()


def test_structures_mended_as_advised_are_read(home):
    box = BOX.replace('"T T T"', '"F F F"').replace("O", "Cu").replace("H", "Cu")
    box = box.replace("0.76", "2.2")
    home(settings({"structure": "x.xyz"}), x_xyz=box)
    told = refused()
    for line in re.findall(r"`(periodic: \w+)`", told):
        home(settings({"structure": "x.xyz"}) + line + "\n")
        accepted()
    slab = box.replace('"F F F"', '"T T F"')
    home(settings({"structure": "x.xyz"}), x_xyz=slab)
    (line,) = re.findall(r"`(periodic: \w+)`", refused())
    home(settings({"structure": "x.xyz"}) + line + "\n")
    accepted()
    two = "2\n\nCu 0 0 0\nCu 0 0 2.2\n" * 2
    home(settings({"structure": "x.xyz"}), x_xyz=two)
    for name in re.findall(r"\S+x\.xyz@-?\d", refused()):
        home(settings({"structure": name}))
        accepted()


def test_a_file_in_another_encoding_is_converted_as_advised(home):
    here = home(
        settings({}), POSCAR="für die\n".encode("latin1") + COPPER.split("\n", 1)[1].encode()
    )
    (command,) = re.findall(r"`(iconv [^`]+)`", refused())
    converted = subprocess.run([*command.split(), "POSCAR"], cwd=here, capture_output=True)
    (here / "POSCAR").write_bytes(converted.stdout)
    accepted()


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("ONFLY_DEVICE", "cuda:99", r"(ONFLY_DEVICE)=(cpu)"),
        ("ONFLY_DEVICE", "gpu", r"ONFLY_(DEVICE).*use (cpu)"),
        ("ONFLY_ARTIFACT_DIR", "/dev/null", r"set (ONFLY_ARTIFACT_DIR) to (a folder)"),
        ("ONFLY_CONFIG_FILE", "/nowhere.yaml", r"(unset) (ONFLY_CONFIG_FILE)"),
    ],
)
def test_variables_set_as_advised_are_good(home, monkeypatch, name, value, advice):
    here = home(settings({}))
    monkeypatch.setenv(name, value)
    what, how = re.search(advice, refused()).groups()
    if what == "unset":
        monkeypatch.delenv(how)
    else:
        monkeypatch.setenv(f"ONFLY_{what.removeprefix('ONFLY_')}",
                           str(here / "new") if how == "a folder" else how)  # fmt: skip
    accepted()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Return a folder with a run that stopped at its largest number of labels."""
    home = tmp_path_factory.mktemp("advice") / "home"
    with pytest.MonkeyPatch.context() as patch:
        text = RUN + "stopping: {max_labels: 2}\n"
        prepare(Case("", "", {"run.yaml": text, "POSCAR": COPPER}), home, patch)
        ended = invoke("run", "run.yaml", "--run-id", "r", "--quiet")
        assert ended.code == 3, ended.text
    return home


@pytest.fixture
def stopped(original, tmp_path, monkeypatch):
    """Return a copy of it, in which the structure file is gone, as working directory."""
    home = tmp_path / "home"
    shutil.copytree(original, home)
    prepare(Case("", ""), home, monkeypatch)
    (home / "POSCAR").unlink()
    return home


def test_a_run_that_is_there_is_resumed_as_advised(stopped):
    (stopped / "POSCAR").write_text(COPPER)
    told = refused("run", "run.yaml", "--run-id", "r")
    (command,) = re.findall(r"`onfly ([^`]+)`", told)
    told = invoke(*command.split(), "--quiet")
    assert told.code == 3
    assert "stopping.max_labels is 2: raise it" in told.text
    (stopped / "POSCAR").unlink()
    text = (stopped / "run.yaml").read_text()
    (stopped / "run.yaml").write_text(text.replace("max_labels: 2", "max_labels: 40"))
    ended = invoke(*command.split(), "--config", "run.yaml", "--quiet")
    assert ended.code in (0, 4), ended.text
    assert "stopping.max_labels: 2 -> 40" in ended.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n_members: 2, n_steps: 12", "n_members: 2, n_steps: 31"),
        ("initial_steps: 5", "initial_steps: 6"),
    ],
)
def test_what_cannot_change_is_a_new_run_as_advised(stopped, old, new):
    text = (stopped / "run.yaml").read_text()
    (stopped / "run.yaml").write_text(text.replace(old, new))
    told = " ".join(refused("resume", "r", "--config", "run.yaml").split())
    (line,) = re.findall(r"start a new run with `(seed_from: [^`]+)`", told)
    (stopped / "POSCAR").write_text(COPPER)
    with (stopped / "run.yaml").open("a") as file:
        file.write(line + "\n")
    accepted()


def test_labels_of_another_method_are_not_advised(stopped):
    text = (stopped / "run.yaml").read_text()
    other = text.replace("labeller: emt", "labeller: {name: emt, kwargs: {asap_cutoff: true}}")
    (stopped / "run.yaml").write_text(other)
    told = " ".join(refused("resume", "r", "--config", "run.yaml").split())
    assert "start a new run" in told
    assert "seed_from" not in told
    # and they would be refused before anything is paid
    (stopped / "POSCAR").write_text(COPPER)
    (stopped / "run.yaml").write_text(other + "seed_from: [r]\n")
    assert "no label of run 'r' has the atoms" in refused()


@pytest.mark.parametrize("file", ["run.json", "start.json"])
def test_a_damaged_run_is_begun_again_with_its_labels_as_advised(stopped, file):
    path = stopped / "artifacts/runs/r" / file
    path.write_bytes(path.read_bytes()[:-40])
    told = refused("resume", "r")
    assert "under another name with `seed_from" in told
    (stopped / "POSCAR").write_text(COPPER)
    with (stopped / "run.yaml").open("a") as text:
        text.write("seed_from: [r]\n")
    accepted("run", "run.yaml", "--run-id", "other", "--dry-run")


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("run.json", lambda d: d["posterior"]["spec"]["tolerance"][0].update(value=0.2)),
        ("run.json", lambda d: d["posterior"]["spec"]["stopping"].update(max_labels=50)),
        ("run.json", lambda d: d["posterior"]["calibration"].update(sum_z2=0.1)),
        ("run.json", lambda d: d["trajectories"][0].update(md_step=7)),
        ("start.json", lambda d: d.update(mode="chained")),
        ("start.json", lambda d: d["structures"][0]["lattice"].update(a=4.0)),
    ],
)
def test_what_is_changed_by_hand_is_refused(stopped, file, change):
    path = stopped / "artifacts/runs/r" / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1))
    told = refused("resume", "r")
    assert "it was changed after it was written" in told
    # the way that is named instead
    assert "--config" in told or "seed_from" in told


def test_a_model_that_is_not_there_leads_to_the_list(home):
    home("")
    (command,) = re.findall(r"`onfly ([^`]+)`", refused("models", "show", "nothing"))
    accepted(*command.split())


def test_an_unpublished_run_of_version_0_1_is_told_as_that(tmp_path):
    folder = tmp_path / "runs/v0-1"
    shutil.copytree(V0_1, folder)
    (folder / "model.json").unlink()
    with pytest.raises(ArtifactError, match=r"written by version 0\.1"):
        load_calculator(path=folder)
