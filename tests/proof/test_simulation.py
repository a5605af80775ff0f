"""The promise by simulation, in small: through the ledger, and vectorised as the benchmark does."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from onfly.proof import Ledger, LedgerEntry, ProofRule, closing_block, draw_block, judge

RULE = ProofRule(coverage=0.9, confidence=0.95)
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / "proof.py"))


def label(ledger, failed, steps, attempt, look):
    for step in steps:
        ledger = ledger.append(
            LedgerEntry(
                index=ledger.n_labels,
                trajectory=0,
                step=step,
                reason="closing",
                generation=attempt,
                attempt=attempt,
                look=look,
                errors={"energy": 1.5 if failed[step] else 0.5},
            )
        )
    return ledger


def run(rng, blocks):
    """A run as the loop makes it: look by look, block by block, learning in between."""
    ledger = Ledger()
    for attempt, failed in enumerate(blocks):
        drawn = draw_block(rng, len(failed), RULE.looks(attempt))
        for look, steps in enumerate(drawn):
            ledger = label(ledger, failed, steps, attempt, look)
            if closing_block(ledger, RULE).state != "open":
                break
        if judge(ledger, RULE).state == "ready":
            return ledger
        ledger = ledger.learned(attempt + 1, ledger.n_labels)
    return ledger


def test_ledger_and_vectorised_rule_agree(benchmark):
    rng = np.random.default_rng(5)
    looks = RULE.looks(0)
    rates = np.repeat([0.005, 0.02, 0.04, 0.1], 40)
    failed = rng.random((len(rates), looks[-1].n)) < rates[:, None]
    fast = benchmark["decide"](failed, looks)
    for row, passed, audits, waits in zip(
        failed, fast.passed, fast.audits, fast.waits, strict=True
    ):
        ledger, edges = Ledger(), [0, *(look.n for look in looks)]
        for look in range(len(looks)):
            ledger = label(ledger, row, range(edges[look], edges[look + 1]), 0, look)
            block = closing_block(ledger, RULE)
            if block.state != "open":
                break
        assert (block.state == "passed") == passed
        assert (ledger.n_labels, look + 1) == (audits, waits)
    assert 0 < fast.passed.sum() < len(rates)  # both outcomes were compared
    assert set(fast.waits) == {1, 2}


@pytest.mark.parametrize("process", ["constant", "drifting", "AR(1)", "one event"])
def test_few_runs_are_ready_below_the_promise(benchmark, process):
    """Two blocks of a model just below the promise; 4.8 % may go wrong at most."""
    rng = np.random.default_rng(11)
    rule, n = ProofRule(attempts=2), 1200
    result = benchmark["close"](rng, rule, benchmark["PROCESSES"][process], (0.8995, 0.8995), n)
    # two standard errors of a share of 5 %
    assert result["wrong"].mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / n)
    former = benchmark["former"](rng, benchmark["PROCESSES"][process], 0.8995, 200, 60)
    assert former["wrong"].mean() > 0.2  # the same measure finds a rule that does not hold


def test_one_event_comes_close_to_what_is_allowed(benchmark):
    rng = np.random.default_rng(12)
    result = benchmark["close"](rng, RULE, benchmark["event"], (0.8995, 0.8995, 0.8995), 3000)
    assert 0.035 < result["wrong"].mean() < 0.06


def test_a_good_model_is_ready_in_time():
    rng = np.random.default_rng(13)
    ready = labels = 0
    for _ in range(100):
        blocks = rng.random((3, 500)) < 0.01
        ledger = run(rng, blocks)
        verdict = judge(ledger, RULE)
        ready += verdict.state == "ready" and verdict.attempt == 0
        labels += ledger.n_labels
    assert ready >= 70
    assert labels / 100 < RULE.block_size(0)


def test_a_bad_model_gives_up():
    rng = np.random.default_rng(14)
    ledger = run(rng, np.ones((3, 200), bool))
    verdict = judge(ledger, RULE)
    assert (verdict.state, verdict.attempts_left) == ("not accurate enough", 0)
    assert ledger.n_labels == sum(RULE.looks(a)[0].n for a in range(3))


def test_the_benchmark_writes_its_rows(monkeypatch, tmp_path, capsys):
    path = tmp_path / "proof.json"
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["proof.py", "--runs", "40", "--json", str(path)])
    runpy.run_path(str(BENCHMARKS / "proof.py"), run_name="__main__")
    content = json.loads(path.read_text())
    assert content["benchmark"] == "proof"
    parts = [row["part"] for row in content["rows"]]
    assert set(parts) == {"power", "guarantee", "version 0.1", "design"}
    former = [row for row in content["rows"] if row["part"] == "version 0.1"]
    assert former[1]["ready_but_below"] > 0.7  # 85 % of the steps, ready all the same
    assert "| guarantee |" in capsys.readouterr().out
