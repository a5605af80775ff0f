"""Campaigns with workers, which are ended with the test."""

from __future__ import annotations

import pytest


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    from tests.faults.fleet import Fleet

    made = []

    def build(**options):
        fleet = Fleet(tmp_path / f"fleet{len(made)}", **options)
        made.append(fleet)
        for name, value in fleet.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("ONFLY_CONFIG_FILE", raising=False)
        return fleet

    yield build
    for one in made:
        one.stop()
