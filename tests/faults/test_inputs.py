"""Bad input ends the command with its code and a message, before anything is written.

The table is in `tests.faults.inputs`. By default every twelfth case of it is run; all are with
``-m slow``.
"""

from __future__ import annotations

import re
import sys

import pytest

from tests.faults.inputs import FILES, Case
from tests.faults.runner import invoke, prepare, snapshot

SHORT = FILES[::12]
# modules that the cases put beside their settings file
_OWN_MODULES = ("leaves", "fails", "broken", "quiet")


def named(cases):
    return [pytest.param(case, id=f"{i}-{case.name[:60]}") for i, case in enumerate(cases)]


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Return a function that runs a case and holds the outcome against the table."""

    def began(*args, **kwargs):
        raise AssertionError("work has begun")

    # if it comes to that, the test fails in milliseconds, and not after minutes
    monkeypatch.setattr("onfly.cli.run.start", began)
    monkeypatch.setattr("onfly.cli.submit.start", began)

    def run(case: Case) -> str:
        home = tmp_path / "home"
        prepare(case, home, monkeypatch)
        before = snapshot(home)
        try:
            ended = invoke(*case.words)
        finally:
            for name in _OWN_MODULES:
                sys.modules.pop(name, None)
        assert ended.code == case.code, ended.text
        assert re.search(case.says, ended.text), ended.text
        assert "Traceback" not in ended.text
        assert "internal error" not in ended.text
        written = {path for path in snapshot(home) - before if path.split("/")[0] not in case.makes}
        assert not written
        return ended.text

    return run


@pytest.mark.parametrize("case", named(SHORT))
def test_a_spread_of_bad_input_is_refused(case, refused):
    refused(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", named(FILES))
def test_bad_input_is_refused(case, refused):
    refused(case)


# what a file of a run says is checked by these alike
_RUN = ("run", "run.yaml", "--quiet")
_SAME = [c for c in FILES if c.words == _RUN and not c.environment][::25]


@pytest.mark.parametrize("words", [("plan", "run.yaml"), ("run", "run.yaml", "--dry-run")])
@pytest.mark.parametrize("case", named(_SAME))
def test_plan_and_dry_run_refuse_the_same(case, words, refused):
    refused(Case(case.name, case.says, case.files, words))


def test_the_table_is_large_and_a_case_stands_once():
    assert len(FILES) >= 400
    keys = [(c.words, tuple(c.files.items()), tuple(c.environment.items())) for c in FILES]
    assert len(set(map(repr, keys))) == len(keys)
