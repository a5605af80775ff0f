from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onfly.analysis.metrics import rmse
from onfly.report.data import load_run
from onfly.report.figures_calibration import coverage, judged_predictions, reliability
from onfly.report.figures_errors import comparison, energy_errors, force_errors, labels_over_time
from onfly.report.figures_md import doubt, md_history
from onfly.report.figures_training import chain_history
from onfly.report.plot import Plot, style, svg_text, thin
from onfly.report.records import Tolerance
from onfly.report.structure import snapshots, structure_data
from onfly.report.tables import label_rows


@pytest.fixture
def data(finished_run):
    return load_run(finished_run)


@pytest.fixture
def twins(data):
    """Two trajectories on one posterior: the run's, and one that starts later and is shorter."""
    (first,) = data.trajectories
    part = {name: values[:1000] for name, values in first.thermo.items()}
    second = replace(first, index=1, thermo=part, n_steps=1000)
    labels = tuple(
        replace(x, trajectory=1) if x.step <= 1000 and x.index % 2 else x for x in data.labels
    )
    return replace(data, trajectories=(first, second), labels=labels)


def _lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_the_comparison_shows_both_errors_and_the_tolerance(data):
    energy, force = comparison(data).figure.axes
    before, after = (patch.get_width() for patch in energy.patches)
    audits = data.closing
    assert len(audits) == 31
    assert after == pytest.approx(1000 * rmse([x.energy_error for x in audits]))
    assert before == pytest.approx(1000 * rmse([x.foundation_error for x in audits]))
    texts = [text.get_text() for text in energy.texts]
    assert texts == [f"{before:.3g}", f"{after:.3g}", "tolerance 21.7"]
    low, high = energy.get_xlim()
    assert low == 0 < 1000 * data.threshold < high
    assert not any("tolerance" in text.get_text() for text in force.texts)
    limited = replace(data, tolerances=(*data.tolerances, Tolerance("force", 0.1, "eV/Å")))
    _, force = comparison(limited).figure.axes
    assert force.texts[-1].get_text() == "tolerance 100"


def test_without_audits_the_comparison_says_so(write_run):
    data = load_run(write_run(n_steps=60, audits=False))
    assert "labels that the model asked for" in comparison(data).note
    assert comparison(replace(data, labels=data.labels[:1])) is None


def test_labels_are_counted_over_time(data):
    lines = _lines(labels_over_time(data).figure.axes[0])
    everything, paid = lines["all"], lines["without audits"]
    assert everything.get_ydata()[-1] == len(data.labels)
    audits = sum(label.is_audit for label in data.labels)
    assert paid.get_ydata()[-1] == len(data.labels) - audits
    # labels of the closing block lie behind the programme of 4.5 ps
    assert everything.get_xdata()[-1] == pytest.approx(5.4015)
    assert (np.diff(everything.get_ydata()) >= 0).all()


def test_errors_stand_next_to_the_foundation_models(data):
    axes = energy_errors(data).figure.axes[0]
    assert axes.texts[0].get_text() == "tolerance 21.7 meV"
    assert axes.texts[0].xy[1] == pytest.approx(1000 * data.threshold)
    lines = _lines(axes)
    expected = 1000 * abs(data.labels[5].foundation_error)
    assert np.isclose(lines.pop("before fine-tuning").get_ydata(), expected).sum() == 1
    own = np.concatenate([line.get_ydata() for line in lines.values() if line.get_gid()])
    assert sorted(own) == pytest.approx(sorted(1000 * abs(x.energy_error) for x in data.judged))


def test_a_label_without_foundation_error_is_drawn_alone(data):
    labels = tuple(replace(x, foundation_error=None) for x in data.labels)
    lines = _lines(energy_errors(replace(data, labels=labels)).figure.axes[0])
    assert "before fine-tuning" not in lines


def test_standard_scores_of_honest_errors(data):
    history = judged_predictions(data)
    assert len(history.states) == len(history.labels) + 1 == len(data.judged) + 1
    # the synthetic errors are honest, up to the prior's start
    assert 0.5 < np.std(history.standard_scores()) < 1.5


def test_coverage_agrees_with_the_counts(data):
    drawing = coverage(data)
    line = _lines(drawing.figure.axes[0])["share so far"]
    assert line.get_ydata()[-1] == pytest.approx(100 * data.n_within / len(data.audits))
    assert drawing.note.startswith(f"{data.n_within} of {len(data.audits)} audits")
    assert "required 90 %" in _lines(drawing.figure.axes[0])


def test_no_audits_no_coverage(write_run):
    data = load_run(write_run(n_steps=60, audits=False))
    assert coverage(data) is None
    names = _lines(reliability(data, judged_predictions(data)).figure.axes[0])
    assert not any("audits" in name for name in names)


def test_md_history_marks_interventions(data):
    panels = md_history(data).figure.axes
    marks = _lines(panels[0])["call for a label"]
    assert len(marks.get_xdata()) == len({x.step for x in data.labels if not x.is_audit} - {0})
    labels = [panel.get_ylabel() for panel in panels]
    assert labels == ["temperature (K)", "energy (eV)", "volume (Å³)"]


def test_molecules_have_no_volume(write_run):
    panels = md_history(load_run(write_run(molecule=True, n_steps=60))).figure.axes
    assert [panel.get_ylabel() for panel in panels] == ["temperature (K)", "energy (eV)"]


def test_doubt_of_labelled_steps_comes_from_the_label(write_run):
    data = load_run(write_run(n_steps=300))
    thermo = data.trajectories[0].thermo
    label = next(x for x in data.labels if x.reason == "uncertain")
    row = int(np.flatnonzero(thermo["step"] == label.step)[0])
    thermo["probability"][row] = np.nan
    line = _lines(doubt(data).figure.axes[0])["risk"]
    assert line.get_ydata()[row] == pytest.approx(100 * label.probability)
    assert len(line.get_ydata()) == 300


def test_two_trajectories_are_told_apart(twins):
    for drawing in (md_history(twins), doubt(twins)):
        for panel in drawing.figure.axes:
            assert {"trajectory 1", "trajectory 2"} <= set(_lines(panel))
    panel = md_history(twins).figure.axes[0]
    assert _lines(panel)["trajectory 2"].get_xdata()[-1] == pytest.approx(1.5)
    assert twins.simulated_fs == pytest.approx(4500 + 1500)
    everything = _lines(labels_over_time(twins).figure.axes[0])["all"]
    assert everything.get_ydata()[-1] == len(twins.labels)
    assert {row["trajectory"] for row in label_rows(twins)} == {1, 2}
    titles = [shot.title for shot in snapshots(twins)]
    assert sum("trajectory 2" in title for title in titles) > 2


def test_thinning_keeps_extremes_and_marks():
    values = np.sin(np.arange(200_000) / 50)
    values[123_457] = 9.0
    index = thin(values, np.array([777, 4321]), n_max=500)
    assert len(index) < 1100
    assert {0, 777, 4321, 123_457, 199_999} <= set(index.tolist())
    assert (np.diff(index) > 0).all()


def test_chains_follow_each_other(data):
    lines = _lines(chain_history(data).figure.axes[0])
    assert list(lines) == [f"chain {k}" for k in (1, 2, 3, 4)]
    x = np.asarray(lines["chain 1"].get_xdata())
    assert (np.diff(x[np.isfinite(x)]) > 0).all()


def test_structure_goes_through_the_labels(data):
    shots = snapshots(data)
    assert len(shots) == 41  # 40 labels and the last frame
    assert "first structure" in shots[0].title
    view = structure_data(data)
    assert [element["symbol"] for element in view["elements"]] == ["H", "S", "Ca", "Zr"]
    frame = view["frames"][0]
    assert frame["kinds"].count(1) == 24
    assert len(frame["xyz"]) == 3 * 41
    assert len(frame["cell"]) == 9
    inside = np.linalg.solve(
        np.reshape(frame["cell"], (3, 3)).T, np.reshape(frame["xyz"], (-1, 3)).T
    )
    assert inside.min() > -0.01
    assert inside.max() < 1.01
    assert view["frames"][0]["xyz"] != view["frames"][-1]["xyz"]


def test_large_structures_have_fewer_snapshots(data):
    large = data.structure.repeat((4, 4, 4))
    labels = tuple(replace(label, structure=large) for label in data.labels)
    shots = snapshots(replace(data, labels=labels))
    assert sum(3 * len(shot.atoms) for shot in shots[:-1]) <= 60_000
    assert len(shots) > 5


def test_every_point_in_the_picture_has_its_text(data):
    for draw in (labels_over_time, energy_errors, force_errors, coverage):
        drawing = draw(data)
        assert svg_text(drawing).count("<title>") == sum(map(len, drawing.hover.values())) > 10


def test_numbers_that_are_read_keep_their_digits():
    plot = Plot("small")
    plot.points(plot.panel, [1.0], [0.00125], "x", "red", texts=["0.00125 meV"])
    plot.panel.set_ylim(0.001, 0.0015)
    plot.panel.set_yticks([0.00125])
    with style():
        text = svg_text(plot.finish("title", "note"))
    assert "<title>0.00125 meV</title>" in text
    assert ">0.00125</text>" in text
