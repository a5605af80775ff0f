"""The ledger: append-only, counted, and the same after a round trip."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from onfly.proof import Learned, Ledger, LedgerEntry, from_line, to_line


def entry(index, reason="uncertain", **changes):
    values = {"trajectory": 0, "step": 10 * index, "reason": reason, "generation": 0}
    if reason == "closing":
        values["attempt"] = 0
    return LedgerEntry(index=index, **(values | {"errors": {"energy": 0.5}} | changes))


def ledger_of(*reasons):
    ledger = Ledger()
    for index, reason in enumerate(reasons):
        ledger = ledger.append(entry(index, reason))
    return ledger


def test_appending_leaves_the_old_ledger_alone():
    first = ledger_of("initial")
    second = first.append(entry(1))
    assert (first.n_labels, second.n_labels) == (1, 2)
    assert second.entries[:1] == first.entries
    with pytest.raises(AttributeError):
        second.entries = ()
    with pytest.raises(ValidationError):
        second.entries[0].step = 5


@pytest.mark.parametrize("index", [0, 2])
def test_entries_follow_one_another(index):
    with pytest.raises(ValueError, match="next index is 1"):
        ledger_of("initial").append(entry(index))


def test_counters():
    ledger = ledger_of("initial", "seed", "uncertain", "warmup", "guard", "audit", "audit")
    ledger = ledger.append(entry(7, "closing"))
    assert [e.index for e in ledger.calls] == [2, 3, 4]
    assert [e.index for e in ledger.audits] == [5, 6]
    assert [e.index for e in ledger.closing(0)] == [7]
    assert ledger.counts()["audit"] == 2
    assert sum(ledger.counts().values()) == ledger.n_labels == 8
    assert ledger.closing(1) == ()
    assert Ledger().closing() == ()


def test_who_learned_what_is_read_from_the_notes():
    ledger = ledger_of("initial", "initial").learned(0, 2)
    ledger = ledger.append(entry(2)).append(entry(3, "audit"))
    assert (ledger.n_unlearned, ledger.generation_that_learned(2)) == (2, None)
    # the label of entry 3 came late: it is not learned together with entry 2
    ledger = ledger.learned(1, 3)
    assert [ledger.generation_that_learned(i) for i in range(4)] == [0, 0, 1, None]
    assert [e.index for e in ledger.unlearned] == [3]
    assert (ledger.generation, ledger.n_learned) == (1, 3)
    with pytest.raises(IndexError, match="no entry 4"):
        ledger.generation_that_learned(4)


@pytest.mark.parametrize(("generation", "n_labels"), [(1, 2), (2, 1), (2, 4)])
def test_learning_goes_forwards(generation, n_labels):
    ledger = ledger_of("initial", "uncertain", "audit").learned(1, 2)
    with pytest.raises(ValueError, match=r"generation"):
        ledger.learned(generation, n_labels)


def test_a_block_holds_one_set_of_weights_and_different_steps():
    ledger = ledger_of("closing", "closing")
    with pytest.raises(ValueError, match="tests generation 0"):
        ledger.append(entry(2, "closing", generation=1))
    with pytest.raises(ValueError, match="already in closing block 0"):
        ledger.append(entry(2, "closing", step=0))
    other = ledger.append(entry(2, "closing", step=0, trajectory=1))
    assert len(other.closing(0)) == 3


def test_blocks_follow_one_another():
    ledger = ledger_of("closing")
    with pytest.raises(ValueError, match="cannot follow 1 blocks"):
        ledger.append(entry(1, "closing", attempt=2))
    ledger = ledger.append(entry(1, "closing", attempt=1))
    assert (ledger.n_attempts, len(ledger.closing()), len(ledger.closing(0))) == (2, 1, 1)
    with pytest.raises(ValueError, match="closing block 0 cannot follow"):
        ledger.append(entry(2, "closing", attempt=0))


def test_a_closing_entry_needs_a_block_and_a_generation():
    with pytest.raises(ValidationError, match="number of its block"):
        entry(0, "closing", attempt=None)
    with pytest.raises(ValidationError, match="generation"):
        entry(0, "closing", generation=-1)


@pytest.mark.parametrize(
    ("errors", "within"),
    [
        ({"energy": 1.0}, True),
        ({"energy": 1.0001}, False),
        ({"energy": 0.2, "force": 0.9}, True),
        ({"energy": 0.2, "force": 1.1}, False),
        ({"energy": math.nan}, False),
        ({"energy": math.inf}, False),
        ({}, False),
    ],
)
def test_within_needs_every_tolerance_and_a_known_error(errors, within):
    ledger = Ledger().append(entry(0, errors=errors))
    assert ledger.within(0) is ledger.within(ledger.entries[0]) is within


def test_worst():
    assert entry(0, errors={"energy": 0.2, "force": 0.9}).worst() == 0.9
    assert entry(0, errors={}).worst() is None
    assert math.isnan(entry(0, errors={"energy": 0.2, "force": math.nan}).worst())


def test_a_negative_ratio_is_an_error_that_lost_its_absolute_value():
    with pytest.raises(ValidationError, match="largest absolute error"):
        entry(0, errors={"energy": -0.2})


def test_a_round_trip_keeps_everything():
    ledger = ledger_of("initial", "audit").learned(0, 1).append(entry(2, mean=-1 / 3, std=0.1))
    ledger = ledger.learned(1, 3).append(entry(3, "closing", label="ab12", look=1, error=-0.25))
    lines = ledger.to_lines()
    assert all("\n" not in line for line in lines)
    assert Ledger.from_lines(lines) == ledger
    assert Ledger.from_lines([*lines, "", "\n"]) == ledger


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e-300, 0.1 + 0.2])
def test_odd_numbers_survive(value):
    first = entry(0, errors={"energy": value}, mean=value, std=None)
    again = from_line(to_line(first))
    assert repr(again) == repr(first)  # NaN is not equal to itself


def test_a_line_that_is_none_is_named():
    good = ledger_of("initial").to_lines()
    with pytest.raises(ValueError, match="line 2 of the ledger"):
        Ledger.from_lines([*good, "{}"])
    with pytest.raises(ValueError, match=r"line 2 .* next index is 1"):
        Ledger.from_lines([*good, *good])
    with pytest.raises(ValueError, match="line 1"):
        Ledger.from_lines([to_line(Learned(generation=0, n_labels=1))])
