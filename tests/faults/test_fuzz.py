"""A spoilt settings file, or a spoilt file of a run, leads to a clear error at worst.

2000 cases with ``-m slow``, some 100 by default; which ones they are is the same every time.
"""

from __future__ import annotations

import contextlib
import shutil

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from onfly import load_calculator
from tests.cli.test_kill import CONFIG
from tests.faults.inputs.case import COPPER, Case
from tests.faults.mutation import mutations
from tests.faults.runner import invoke, prepare

RUN = CONFIG.replace("MODE", "resident").replace("WALKERS", "1")
# as asked, bad input, stopped, unproven: all documented, and none of them an internal error
CODES = {0, 2, 3, 4}
COMMON = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    # to make a failing case smaller takes longer than to read it
    "phases": (Phase.explicit, Phase.generate),
}
# what reads the files of a run; those that write come last
READERS = (
    ("status",),
    ("status", "r", "--json"),
    ("models", "list"),
    ("resume", "r", "--quiet"),
    ("resume", "r", "--config", "run.yaml", "--quiet"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a folder with a finished run, and a copy of it that stays as it is."""
    root = tmp_path_factory.mktemp("fuzz")
    home = root / "home"
    with pytest.MonkeyPatch.context() as patch:
        prepare(Case("", "", {"run.yaml": RUN, "POSCAR": COPPER}), home, patch)
        ended = invoke("run", "run.yaml", "--run-id", "r", "--quiet")
        assert ended.code in (0, 4), ended.text
        shutil.copytree(home, root / "whole")
        # whether a run goes on, and its report, would take seconds each
        patch.setattr("onfly.cli.run.start", lambda *args, **kwargs: 0)
        patch.setattr("onfly.cli.run.finish", lambda *args, **kwargs: 0)
        yield home, root / "whole"


def files_of(home):
    """Return the JSON files of a run, documents and files of lines; two of each kind."""
    root = home / "artifacts"
    kinds = {}
    for path in sorted(p for kind in ("*.json", "*.jsonl") for p in root.rglob(kind)):
        name = path.relative_to(home)
        # labels, answers and records of updates are many of a kind
        top = name.parts[1] if name.parts[1] == "labels" else name.parent
        kind = top if len(list(path.parent.glob("*.json"))) > 5 or top == "labels" else name
        kinds.setdefault(kind, []).append(name)
    return [name for names in kinds.values() for name in names[:2]]


def fuzz_yaml(finished, mutation):
    home, whole = finished
    path = home / "run.yaml"
    path.write_bytes(mutation((whole / "run.yaml").read_bytes()))
    try:
        ended = invoke("run", "run.yaml", "--run-id", "new", "--dry-run")
    finally:
        shutil.copyfile(whole / "run.yaml", path)
    assert ended.code in (0, 2), ended.text
    assert "Traceback" not in ended.text
    assert not (home / "artifacts/runs/new").exists()


def fuzz_file(finished, place, mutation, words):
    home, whole = finished
    names = files_of(whole)
    name = names[int(place * len(names))]
    (home / name).write_bytes(mutation((whole / name).read_bytes()))
    try:
        if words == ("load",):
            with contextlib.suppress(ValueError, FileNotFoundError):  # those of ours
                load_calculator(path=home / "artifacts/runs/r")
            return
        ended = invoke(*words)
        assert ended.code in CODES, f"{name}: {ended.text}"
        assert "Traceback" not in ended.text
    finally:
        if "resume" in words or "report" in words:
            shutil.rmtree(home / "artifacts")
            shutil.copytree(whole / "artifacts", home / "artifacts")
        else:
            shutil.copyfile(whole / name, home / name)


readers = st.sampled_from((*READERS, ("load",)))
places = st.floats(0.0, 1.0, exclude_max=True)


@settings(max_examples=60, **COMMON)
@given(mutation=mutations())
def test_a_spoilt_settings_file(finished, mutation):
    fuzz_yaml(finished, mutation)


@settings(max_examples=60, **COMMON)
@given(place=places, mutation=mutations(), words=readers)
def test_a_spoilt_file_of_a_run(finished, place, mutation, words):
    fuzz_file(finished, place, mutation, words)


@pytest.mark.slow
@settings(max_examples=1000, **COMMON)
@given(mutation=mutations())
def test_a_thousand_spoilt_settings_files(finished, mutation):
    fuzz_yaml(finished, mutation)


@pytest.mark.slow
@settings(max_examples=1000, **COMMON)
@given(place=places, mutation=mutations(), words=readers)
def test_a_thousand_spoilt_files_of_a_run(finished, place, mutation, words):
    fuzz_file(finished, place, mutation, words)


@pytest.mark.slow
@settings(max_examples=25, **COMMON)
@given(place=places, mutation=mutations())
def test_reports_of_spoilt_runs(finished, place, mutation):
    fuzz_file(finished, place, mutation, ("report", "r", "--no-png"))
