"""Campaigns with workers, which are ended with the test; runs without a report."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_report_at_the_end_of_a_run():
    """The figures of a report take longer than these runs; `onfly report` itself is not touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onfly.cli.summary._report", lambda workspace: None)
        yield


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
