from __future__ import annotations

import pytest

from onfly.classes.names import ClassModelError
from onfly.classes.selection import select_labels
from onfly.testing.models import toy_spec

from .conftest import filled_library, write_alloy

CAMPAIGN = {"campaign": "alloys"}


def test_labels_of_a_campaign_come_in_the_order_of_runs(alloys):
    found = select_labels(alloys, CAMPAIGN)
    assert len(found.labels) == 20
    keys = [(label.run_id, label.index) for label in found.labels]
    assert keys == sorted(keys)
    assert found.level_of_theory == "emt"
    assert [f["source"] for f in found.foundations] == ["toy"]
    # the energy tolerance of the runs, in eV for the cell
    formulas = {label.structure.composition.reduced_formula for label in found.labels}
    assert found.thresholds == dict.fromkeys(formulas, 0.1)


@pytest.mark.parametrize("spelling", ["CuAu", "AuCu", "Au2 Cu2"])
def test_an_excluded_compound_has_no_label_in_it(alloys, spelling):
    found = select_labels(alloys, CAMPAIGN, exclude=[spelling])
    assert len(found.labels) == 15
    assert "CuAu" not in {label.structure.composition.reduced_formula for label in found.labels}
    assert found.left_out == {"compound excluded": 5}


def test_levels_of_theory_are_not_mixed():
    write_alloy(("Cu", "Au"), spec=toy_spec(level_of_theory="PBE"))
    write_alloy(("Cu", "Ag"), spec=toy_spec(level_of_theory="r2SCAN"))
    library = filled_library()
    with pytest.raises(ClassModelError, match=r"PBE \(5\), r2SCAN \(5\); name one"):
        select_labels(library, CAMPAIGN)
    found = select_labels(library, CAMPAIGN, level_of_theory="PBE")
    assert len(found.labels) == 5
    assert found.left_out == {"other level of theory": 5}
    with pytest.raises(ClassModelError, match="no label of the level of theory 'LDA'"):
        select_labels(library, CAMPAIGN, level_of_theory="LDA")


def test_one_cell_has_labels_of_one_input():
    write_alloy(("Cu", "Au"), input_hash="a")
    write_alloy(("Cu", "Au"), n=3, run_id="other", input_hash="b")
    write_alloy(("Cu", "Ag"), input_hash="c")  # of another compound, with k-points of its own
    found = select_labels(filled_library(), CAMPAIGN)
    assert {label.input_hash for label in found.labels} == {"a", "c"}
    assert found.left_out == {"other input": 3}


def test_a_configuration_is_learned_once():
    write_alloy(("Cu", "Au"))
    write_alloy(("Cu", "Au"), run_id="again")
    found = select_labels(filled_library(), CAMPAIGN)
    assert len(found.labels) == 5
    assert found.left_out == {"configuration labelled twice": 5}


def test_nothing_to_learn_is_said(alloys):
    with pytest.raises(ClassModelError, match="no labels of campaign=other"):
        select_labels(alloys, {"campaign": "other"})
    with pytest.raises(ClassModelError, match="are excluded"):
        select_labels(alloys, CAMPAIGN, exclude=["CuAu", "CuAg", "AgAu", "NiCu"])
    with pytest.raises(ClassModelError, match="no chemical formula"):
        select_labels(alloys, CAMPAIGN, exclude=["??"])
