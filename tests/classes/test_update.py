from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from onfly.classes.examples import Example, predict
from onfly.classes.library import ClassLibrary
from onfly.classes.names import ClassModelError
from onfly.classes.replay import unrelated_crystals
from onfly.classes.selection import select_labels
from onfly.classes.update import update_class
from onfly.potentials import load_foundation
from onfly.spec import FoundationSpec
from onfly.spec.classes import ClassFitSpec

from .conftest import PAIRS, QUICK, filled_library, quick_update, write_alloy


def test_an_update_learns_and_records_what(alloys):
    doc = quick_update(alloys, spec=QUICK.evolve(n_steps=200)).doc
    assert (doc.class_id, doc.source, doc.n_labels) == ("alloys@1", "class:alloys@1", 20)
    assert doc.parents == ["toy"]
    assert "toy" in doc.licences
    assert len(doc.compounds) == 4
    before = sum(c.force_rmse_before**2 for c in doc.compounds.values())
    assert sum(c.force_rmse**2 for c in doc.compounds.values()) < 0.7 * before
    assert doc.drift > 0
    assert not doc.measured
    assert doc.prior_std == load_foundation("toy").defaults.prior_std
    assert doc.breadth is not None
    assert doc.breadth.n_structures == 6


def test_the_same_labels_give_the_same_version_and_others_the_next(alloys):
    first = quick_update(alloys)
    again = quick_update(alloys)
    assert first.is_new
    assert not again.is_new
    assert again.doc.fingerprint == first.doc.fingerprint
    assert again.doc.weights_file == first.doc.weights_file
    write_alloy(("Pd", "Au"))
    second = quick_update(filled_library()).doc
    assert second.class_id == "alloys@2"
    assert second.parents == ["toy"]  # fitted anew, not from the version before


def test_nothing_of_a_compound_left_out_reaches_the_model(tmp_path, monkeypatch):
    """The held-out compound's labels are other numbers the second time, the weights the same."""
    digests = []
    for number, shift in enumerate((0.0, 50.0)):
        monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / f"artifacts{number}"))
        monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / f"store{number}"))
        for pair in PAIRS:
            write_alloy(pair, shift=shift if pair == ("Cu", "Au") else 0.0)
        library = filled_library()
        spec = QUICK.evolve(folds=2, fold_compounds=1)
        doc = quick_update(library, exclude=["CuAu"], spec=spec).doc
        assert doc.excluded == ["CuAu"]
        assert "run-CuAu" not in json.dumps(doc.model_dump(mode="json"))
        digests.append((doc.weights_file.sha256, doc.fingerprint, doc.calibration_rate))
        all_of_them = quick_update(library).doc
        digests.append((all_of_them.weights_file.sha256, all_of_them.fingerprint, None))
    assert digests[0] == digests[2]
    assert digests[1][1] != digests[3][1]


def test_a_constant_of_the_labeller_changes_offsets_and_not_the_weights(tmp_path, monkeypatch):
    found = []
    for number, shift in enumerate((0.0, 7.0)):
        monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / f"artifacts{number}"))
        monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / f"store{number}"))
        for pair in PAIRS[:2]:
            write_alloy(pair, shift=shift)
        doc = quick_update(filled_library()).doc
        weights = load_foundation("class:alloys@1").parameters()
        found.append((doc.element_offsets, weights))
    for element, value in found[0][0].items():
        assert found[1][0][element] == pytest.approx(value - 7.0, abs=1e-6)
    for name, value in found[0][1].items():
        torch.testing.assert_close(value, found[1][1][name], rtol=1e-5, atol=1e-7)


def test_leaving_out_measures_width_and_calibration(alloys):
    spec = QUICK.evolve(folds=2, fold_compounds=2, fold_labels=3)
    doc = quick_update(alloys, spec=spec).doc
    held = doc.held_out
    assert doc.measured
    assert held is not None
    assert (held.n_folds, held.n_compounds, held.n_learning) == (2, 4, 2)
    toy = load_foundation("toy").defaults
    assert doc.prior_std == pytest.approx(toy.prior_std * min(max(held.width_ratio, 0.1), 1.0))
    assert (doc.calibration_shape, doc.calibration_rate) != (toy.shape, toy.rate)
    assert doc.cpu_seconds["left out"] > 0
    defaults = load_foundation("class:alloys").defaults
    assert (defaults.prior_std, defaults.shape) == (doc.prior_std, doc.calibration_shape)
    assert "alloys@1" in defaults.source


def test_calibration_has_the_noise_of_the_runs(alloys):
    """σ_E, a part of every std, follows from the tolerance of a compound's runs."""
    spec = QUICK.evolve(folds=2, fold_compounds=1, fold_labels=3)
    selection = select_labels(alloys, {"campaign": "alloys"})
    found = {}
    for threshold in (0.001, 0.1):
        tolerances = dict.fromkeys(selection.thresholds, threshold)
        classes = ClassLibrary.from_settings()
        doc = update_class(
            f"alloys-{threshold:g}".replace(".", "-"),
            replace(selection, thresholds=tolerances),
            classes,
            spec=spec,
        ).doc
        found[threshold] = doc.held_out.scale_factor
    assert found[0.001] > 1.2 * found[0.1]


def test_replay_keeps_the_foundation_where_nothing_is_learned(alloys):
    spec = QUICK.evolve(n_steps=400, check=20)
    kept = quick_update(alloys, "kept", spec=spec.evolve(replay=30)).doc.breadth
    lost = quick_update(alloys, "lost", spec=spec.evolve(replay=0)).doc.breadth
    assert kept is not None and lost is not None  # noqa: PT018
    assert kept.force_change < 0.7 * lost.force_change
    assert kept.wall_energy_change < 0.5 * lost.wall_energy_change


def test_labels_of_unrelated_structures_give_the_error_before_and_after(alloys):
    teacher = load_foundation("toy-1")
    crystals = unrelated_crystals(teacher, 4, ["Cu", "Au"], ("test",))
    given = [
        Example(e.atoms, e.energy, e.forces, e.stress, e.atoms.get_chemical_formula())
        for e in predict(teacher, teacher.parameters(), crystals)
    ]
    breadth = quick_update(alloys, unrelated=given).doc.breadth
    assert breadth is not None
    assert breadth.given == 4
    assert breadth.given_force_rmse_before > 0
    assert breadth.given_force_rmse != breadth.given_force_rmse_before


def test_runs_of_several_foundations_need_one_to_be_named(alloys):
    from onfly.testing.models import toy_spec

    write_alloy(("Pd", "Au"), spec=toy_spec(foundation_model="toy-1"))
    library = filled_library()
    with pytest.raises(ClassModelError, match="toy, toy-1"):
        quick_update(library)
    doc = quick_update(library, foundation=FoundationSpec(source="toy")).doc
    assert doc.n_labels == 25


def test_a_run_from_a_class_model_descends_from_its_foundation(alloys):
    from onfly.testing.models import toy_spec

    first = quick_update(alloys).doc
    write_alloy(("Pd", "Au"), spec=toy_spec(foundation_model=first.source))
    doc = quick_update(filled_library()).doc
    assert (doc.class_id, doc.foundation.source, doc.n_labels) == ("alloys@2", "toy", 25)


def test_an_interrupted_update_does_not_fit_again(alloys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("onfly.classes.update.measure_breadth", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            quick_update(alloys)
    fits = ClassLibrary.from_settings().artifact_store.root / "classes" / "fits"
    (kept,) = fits.rglob("*.safetensors")
    monkeypatch.setattr("onfly.bayes.chain_task._run", _interrupted)
    assert quick_update(alloys).is_new
    assert not kept.exists()  # what is published needs no cache


def _interrupted(*args, **kwargs):
    raise KeyboardInterrupt


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="n_steps"):
        ClassFitSpec(n_steps=0)
