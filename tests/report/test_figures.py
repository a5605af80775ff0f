from __future__ import annotations

import numpy as np
import pytest

from onfly.report.data import load_run
from onfly.report.figures_calibration import calibration_history, coverage, reliability
from onfly.report.figures_labels import energy_errors, labels_over_time
from onfly.report.figures_md import doubt, md_history, thin
from onfly.report.figures_training import chain_history
from onfly.report.spec import Line, Points
from onfly.report.structure import draw_structure, snapshots
from onfly.report.ticks import log_ticks


@pytest.fixture
def data(finished_run):
    return load_run(finished_run)


def _item(panel, name):
    return next(item for item in panel.items if item.name == name)


def test_labels_are_counted_over_time(data):
    panel = labels_over_time(data).panels[0]
    everything, paid = _item(panel, "all labels"), _item(panel, "without audits")
    assert everything.y[-1] == len(data.labels)
    audits = sum(label.reason == "audit" for label in data.labels)
    assert paid.y[-1] == len(data.labels) - audits
    assert everything.x[-1] == pytest.approx(4.5)
    assert (np.diff(everything.y) >= 0).all()


def test_errors_stand_next_to_the_foundation_models(data):
    panel = energy_errors(data).panels[0]
    (threshold,) = panel.references
    assert threshold.value == pytest.approx(1000 * data.run.threshold_ev)
    assert threshold.label == "threshold 21.7 meV"
    before = _item(panel, "before fine-tuning")
    label = data.labels[5]
    expected = 1000 * abs(label.foundation_energy - label.energy)
    assert np.isclose(before.y, expected).sum() == 1
    own = np.concatenate([i.y for i in panel.items if i.name.startswith("fine-tuned")])
    assert sorted(own) == pytest.approx(sorted(1000 * abs(x.error) for x in data.judged_labels))


def test_calibration_is_replayed_as_the_run_did_it(data):
    history = calibration_history(data)
    assert history.states[-1].n == data.run.calibration.n
    assert history.states[-1].sum_z2 == pytest.approx(data.run.calibration.sum_z2)
    assert len(history.states) == len(history.labels) + 1
    # the synthetic errors are honest, up to the prior's start
    assert 0.5 < np.std(history.standard_scores()) < 1.5


def test_coverage_agrees_with_the_model(data):
    figure = coverage(data)
    assert _item(figure.panels[0], "so far").y[-1] == pytest.approx(100 * data.model.coverage)
    band = _item(figure.panels[0], "95 % interval")
    assert band.low[-1] == pytest.approx(100 * data.model.coverage_interval[0])
    assert figure.panels[0].references[0].value == pytest.approx(90)


def test_no_audits_no_coverage(write_run):
    data = load_run(write_run(n_steps=60, audits=False))
    assert coverage(data) is None
    names = [i.name for i in reliability(data, calibration_history(data)).panels[0].items]
    assert not any("audits" in name for name in names)


def test_md_history_marks_interventions(data):
    panel = md_history(data).panels[0]
    marks = _item(panel, "intervention")
    steps = {x.md_step for x in data.labels if x.reason != "audit"} - {0}
    assert len(marks.x) == len(steps)
    assert [p.ylabel for p in md_history(data).panels] == [
        "temperature (K)",
        "energy (eV)",
        "volume (Å³)",
    ]


def test_molecules_have_no_volume(write_run):
    data = load_run(write_run(molecule=True, n_steps=60))
    assert [p.ylabel for p in md_history(data).panels] == ["temperature (K)", "energy (eV)"]


def test_doubt_of_labelled_steps_comes_from_the_label(data):
    probability = data.thermo["probability"].copy()
    label = next(x for x in data.labels if x.reason == "uncertain")
    row = int(np.flatnonzero(data.thermo["step"] == label.md_step)[0])
    data.thermo["probability"][row] = np.nan
    figure = doubt(data)
    line = next(i for i in figure.panels[0].items if isinstance(i, Line))
    assert line.y[row] == pytest.approx(100 * label.probability)
    assert probability.shape == line.y.shape


def test_thinning_keeps_extremes_and_marks():
    values = np.sin(np.arange(200_000) / 50)
    values[123_457] = 9.0
    index = thin(values, np.array([777, 4321]), n_max=500)
    assert len(index) < 1100
    assert {0, 777, 4321, 123_457, 199_999} <= set(index.tolist())
    assert (np.diff(index) > 0).all()


def test_chains_follow_each_other(data):
    figure = chain_history(data)
    lines = [i for i in figure.panels[0].items if isinstance(i, Line)]
    assert [line.name for line in lines] == [f"chain {k}" for k in (1, 2, 3, 4)]
    x = lines[0].x[np.isfinite(lines[0].x)]
    assert (np.diff(x) > 0).all()


def test_structure_goes_through_the_labels(data):
    shots = snapshots(data)
    assert len(shots) == 41  # 40 labels and the last frame
    assert "first structure" in shots[0].title
    figure = draw_structure(data)
    names = [trace.name for trace in figure.data]
    assert names == ["bonds", "cell", "H", "S", "Ca", "Zr", "all labelled configurations"]
    counts = {trace.name: len(trace.x) for trace in figure.data}
    assert counts["S"] == 24
    steps = figure.layout.sliders[0].steps
    assert len(steps) == len(shots)
    first, last = (steps[k].args[0]["x"][3] for k in (0, -1))
    assert len(first) == len(last) == 24
    assert first != last


def test_log_ticks_are_plain_numbers():
    assert log_ticks(30, 300) == [20, 50, 100, 200, 500]
    assert log_ticks(1e-3, 1e2) == [1e-3, 1e-2, 1e-1, 1, 10, 100]
    assert len([t for t in log_ticks(5.1, 8.3) if 5.1 <= t <= 8.3]) >= 3


def test_points_carry_a_text_each(data):
    for figure in (labels_over_time(data), energy_errors(data)):
        for item in figure.panels[0].items:
            if isinstance(item, Points) and item.text is not None:
                assert len(item.text) == len(item.x)
