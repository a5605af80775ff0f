from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("ONFLY_", "JOBFLOW_"))]:
        if name != "ONFLY_TEST_MONGO_URI":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
