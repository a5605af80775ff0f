"""The command `onfly class`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from onfly.cli import app
from tests.classes.conftest import PAIRS, machine, write_alloy

runner = CliRunner()
FIT = ("--steps", "20", "--folds", "0")
__all__ = ["machine"]


@pytest.fixture(autouse=True)
def _alloys(machine):
    for pair in PAIRS[:3]:
        write_alloy(pair)


def _invoke(*arguments, code=0):
    result = runner.invoke(app, ["class", *arguments], env={"COLUMNS": "250"})
    assert result.exit_code == code, result.output
    return result


def test_an_update_is_shown_and_listed():
    out = _invoke("update", "alloys", "--campaign", "alloys", *FIT, "--licence", "CC0").output
    assert "alloys@1: 15 labels of 3 compounds" in out
    assert "foundation_model: class:alloys@1" in out
    assert "licence of labels: CC0" in out
    again = _invoke("update", "alloys", "--campaign", "alloys", *FIT).output
    assert "holds these labels already" in again
    (summary,) = json.loads(_invoke("list", "--json").stdout)
    assert (summary["class_id"], summary["n_labels"]) == ("alloys@1", 15)
    assert "alloys@1" in _invoke("list").output
    assert "force error" in _invoke("show", "alloys").output
    assert json.loads(_invoke("show", "alloys@1", "--json").stdout)["version"] == 1


def test_a_dry_run_says_what_is_learned_and_what_not():
    content = json.loads(
        _invoke("update", "a", "--element", "Cu", "--exclude", "AuCu", "--dry-run", "--json").stdout
    )
    assert content["n_labels"] == 5
    assert content["excluded"] == ["CuAu"]
    assert content["left_out"] == {"compound excluded": 5}
    assert "no class models" in _invoke("list").output


def test_a_replay_file_is_read(tmp_path):
    from ase.build import bulk

    bulk("Al", cubic=True).write(tmp_path / "more.extxyz")
    fit = (*FIT, "--replay", str(tmp_path / "more.extxyz"), "--chemsys", "Cu-Au")
    content = json.loads(_invoke("update", "a", *fit, "--json").stdout)
    assert content["n_labels"] == 5
    other = json.loads(_invoke("update", "b", *FIT, "--chemsys", "Au-Cu", "--json").stdout)
    assert content["n_replay"] == other["n_replay"] + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("update", "a"), "say whose labels"),
        (("update", "../a", "--campaign", "alloys"), "cannot name a class"),
        (("update", "a", "--campaign", "none"), "no labels of campaign=none"),
        (("update", "a", "--campaign", "alloys", "--foundation", "mace-mp-x"), "mace-mp"),
        (("update", "a", "--campaign", "alloys", "--level", "PBE"), "no label of the level"),
        (("show", "none"), "there is no class model none"),
        (("show", "a@b"), "the version is a number"),
    ],
)
def test_mistakes_are_one_message(arguments, message):
    assert message in _invoke(*arguments, code=2).output
