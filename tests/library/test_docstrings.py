"""The examples in the docstrings of the library, run on the data of version 0.1."""

from __future__ import annotations

import doctest
import importlib
import shutil
from pathlib import Path

import pytest

import onfly.library

DATA = Path(__file__).parents[1] / "data/v0_1"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
WITH_EXAMPLES = {"onfly.library.models", "onfly.library.energy_offset"}


def modules():
    folder = Path(onfly.library.__file__).parent
    names = [f"onfly.library.{path.stem}" for path in folder.glob("*.py")]
    return sorted(name for name in names if not name.endswith("__init__"))


@pytest.mark.parametrize("name", modules())
def test_examples(name, tmp_path, monkeypatch):
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "data/artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "data/store"))
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0
    assert result.attempted > 0 or name not in WITH_EXAMPLES
