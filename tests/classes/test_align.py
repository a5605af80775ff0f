from __future__ import annotations

import numpy as np
import pytest

from onfly.classes.align import align

SHIFT = {"Na": 1.0, "K": -2.0, "Cl": 0.5, "Br": 3.0}
CELLS = [
    ("NaCl", {"Na": 4, "Cl": 4}),
    ("KCl", {"K": 4, "Cl": 4}),
    ("NaBr", {"Na": 2, "Br": 2}),
    ("KBr", {"K": 1, "Br": 1}),
    ("Na", {"Na": 2}),
]


def test_shifts_of_elements_are_found_whatever_the_size_of_the_cell():
    differences = [sum(n * SHIFT[e] for e, n in cell.items()) for _, cell in CELLS]
    found = align([c for _, c in CELLS], [n for n, _ in CELLS], differences, ridge=1e-8)
    assert found.per_element == pytest.approx(SHIFT, abs=1e-5)
    assert max(map(abs, found.per_compound.values())) < 1e-5


def test_what_is_special_to_a_compound_stays_with_it():
    differences = [sum(n * SHIFT[e] for e, n in cell.items()) for _, cell in CELLS]
    differences[0] += 8 * 0.3
    found = align([c for _, c in CELLS], [n for n, _ in CELLS], differences)
    for (name, cell), difference in zip(CELLS, differences, strict=True):
        # the offset of each compound is exact, however it is divided
        assert found.of(cell, name) == pytest.approx(difference)
    assert found.per_compound["NaCl"] > 0.01


def test_a_compound_counts_once_however_many_labels_it_has():
    stream = np.random.default_rng(0)
    noise = stream.normal(0, 0.1, 50)
    cells = [CELLS[0][1]] * 50 + [CELLS[1][1]]
    names = ["NaCl"] * 50 + ["KCl"]
    many = align(cells, names, [6.0 + x for x in noise] + [-6.0])
    once = align([CELLS[0][1], CELLS[1][1]], ["NaCl", "KCl"], [6.0 + noise.mean(), -6.0])
    assert many.per_element == pytest.approx(once.per_element)


def test_elements_that_always_come_together_share_their_shift():
    found = align([{"Mg": 4, "O": 4}], ["MgO"], [16.0])
    assert found.per_element["Mg"] == pytest.approx(2.0, abs=1e-6)
    assert found.per_element["O"] == pytest.approx(2.0, abs=1e-6)


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="as many"):
        align([{"Mg": 1}], ["Mg"], [])
