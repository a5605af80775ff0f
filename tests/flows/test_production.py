from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from jobflow import Flow, run_locally

from onfly.calculators import load_calculator
from onfly.dynamics.member import MemberPredictor
from onfly.dynamics.stages import MDStage
from onfly.flows import ProductionMaker
from onfly.jobs.production import find_excursions
from onfly.labels.presets import label_maker
from onfly.library.fit import ModelMismatchError
from onfly.schemas import to_atoms
from onfly.schemas.production import ProductionDoc
from onfly.session import Session
from onfly.settings import get_settings

NVE = MDStage(30, temperature=None, ensemble="nve")
WARM = MDStage(10, temperature=300.0)


def finish(flow, store):
    run_locally(
        flow,
        store=store,
        ensure_success=True,
        raise_immediately=True,
        log=False,
        create_folders=False,
    )
    return flow.output.resolve(store) if not isinstance(flow.output, list) else [
        out.resolve(store) for out in flow.output
    ]  # fmt: skip


def labels_of(run_id):
    session = Session()
    run = session.open(session.workspace(run_id).read_state().posterior)
    return run.labels_in_context()


@pytest.fixture
def root():
    return Path(get_settings().ARTIFACT_DIR)


@pytest.fixture
def model(make_maker, structure, store):
    return finish(make_maker(n_steps=15).make(structure, run_id="trained"), store)


def production(**options):
    options = {"stages": [NVE], "time_step": 2.0, "on_uncertain": "warn", **options}
    return ProductionMaker(**options)


def rows(root, doc):
    return np.genfromtxt(root / doc.thermo_files[0], delimiter=",", names=True, usecols=range(10))


def test_runs_are_independent_and_repeatable(model, structure, store, root):
    maker = production(equilibration=[WARM], n_runs=2)
    docs = finish(maker.make(structure, run_id="trained", production_id="a"), store)
    assert [doc.index for doc in docs] == [0, 1]
    for doc in docs:
        assert isinstance(doc, ProductionDoc)
        assert doc.model_id == model.model_id
        assert (doc.state, doc.stop_reason) == ("finished", "all stages are done")
        assert (doc.n_equilibration_steps, doc.n_steps) == (10, 40)
        assert doc.simulated_time_fs == 80.0
        frames = ase.io.read(root / doc.trajectory_files[0], ":")
        assert [atoms.info["step"] for atoms in frames] == [10, 20, 30, 40]
        # energies are on the scale of the labels
        calculator = load_calculator(path=root / "runs" / "trained")
        energy = frames[-1].get_potential_energy()
        calculator.calculate(frames[-1].copy())
        assert calculator.results["energy"] == pytest.approx(energy, abs=1e-6)
        assert len(json.dumps(doc.model_dump(mode="json"))) < 20_000
    assert not np.allclose(rows(root, docs[0])["temperature"], rows(root, docs[1])["temperature"])
    again = finish(maker.make(structure, run_id="trained", production_id="b"), store)
    for one, two in zip(docs, again, strict=True):
        np.testing.assert_array_equal(rows(root, one).tolist(), rows(root, two).tolist())
    # NVE: the energy is that of the forces
    total = rows(root, docs[0])["total_energy"][10:]
    assert np.ptp(total) < 0.05 * np.ptp(rows(root, docs[0])["kinetic_energy"][10:])


def test_warn_records_every_excursion_and_stop_ends_before_the_first(
    model, structure, store, root, caplog
):
    watched = finish(production().make(structure, run_id="trained", production_id="a"), store)[0]
    probability = rows(root, watched)["probability"]
    assert watched.n_watched == 30
    assert watched.n_uncertain == int((probability > 0.05).sum())
    # a threshold at which some steps are uncertain and some are not
    calibration = load_calculator(path=root / "runs" / "trained").calibration
    std = rows(root, watched)["energy_std"]
    threshold = float(
        np.interp(0.5, [0, 1], [calibration.interval(s) for s in (std.min(), std.max())])
    )
    beyond = np.array([calibration.exceedance(s, threshold) > 0.05 for s in std])
    assert 0 < beyond.sum() < 30
    doc = finish(
        production(threshold=threshold).make(structure, run_id="trained", production_id="b"), store
    )[0]
    assert doc.state == "finished"
    assert doc.n_uncertain == beyond.sum()
    first = int(np.flatnonzero(beyond)[0]) + 1
    assert doc.excursions[0].first_step == first
    assert sum(e.last_step - e.first_step + 1 for e in doc.excursions) == beyond.sum()
    assert doc.n_excursions == np.sum(np.diff(np.r_[0, beyond.astype(int)]) == 1)
    assert doc.excursions[0].max_energy_std <= std.max()
    assert f"step {first}: P(error > tolerance of energy)" in caplog.text

    stopping = production(threshold=threshold, on_uncertain="stop")
    stopped = finish(stopping.make(structure, run_id="trained", production_id="c"), store)[0]
    assert stopped.state == "stopped"
    assert stopped.n_steps == first - 1
    assert stopped.stop_reason.startswith(f"step {first}: P(error >")
    atoms = ase.io.read(root / stopped.folder / "stopped_at.extxyz")
    assert len(atoms) == 4
    assert stopped.stopped_at is not None


def test_one_member_watched_now_and_then(model, structure, store, root):
    maker = production(predictor="member", monitor_interval=5, n_runs=2)
    docs = finish(maker.make(structure, run_id="trained", production_id="a"), store)
    assert [doc.member for doc in docs] == [0, 1]
    table = rows(root, docs[0])
    assert docs[0].n_watched == 6
    assert table["step"][np.isfinite(table["probability"])].tolist() == [5, 10, 15, 20, 25, 30]
    total = table["total_energy"]
    assert np.ptp(total) < 0.05 * np.ptp(table["kinetic_energy"])


def test_the_monitor_adds_the_distance_from_the_mean(model, structure, root):
    mean = load_calculator(path=root / "runs" / "trained").predictor
    parts = (mean.potential, mean.posterior, mean.state, mean.scales, "sequential")
    atoms = to_atoms(structure)
    ensemble = mean.predict(atoms)
    members = [MemberPredictor(*parts, member=m, interval=3) for m in (0, 1)]
    single = [m.predict(atoms, step=3) for m in members]
    assert np.mean([s.energy for s in single]) == pytest.approx(ensemble.energy)
    assert np.mean([s.forces for s in single], axis=0) == pytest.approx(ensemble.forces)
    for s in single:
        expected = np.hypot(ensemble.energy_std, s.energy - ensemble.energy)
        assert s.energy_std == pytest.approx(expected)
    assert not members[0].predict(atoms, step=4).watched
    with pytest.raises(ValueError, match="there is no member 2"):
        MemberPredictor(*parts, member=2)


@pytest.mark.parametrize("mode", ["resident", "chained"])
def test_label_goes_on_learning(mode, model, structure, store, root):
    maker = production(
        on_uncertain="label",
        label_maker=label_maker("emt"),
        mode=mode,
        threshold=0.02,
        stages=[MDStage(12, temperature=600.0)],
        allow_mismatch=True,
        n_workers=1,
    )
    doc = finish(maker.make(structure, run_id="trained", production_id="p"), store)[0]
    assert doc.state == "finished"
    assert doc.n_labels_added > 0
    labels = labels_of("p-0")
    assert len(labels) == model.n_labels + doc.n_labels_added
    assert labels[0].energy == labels_of("trained")[0].energy
    assert {label.reason for label in labels[model.n_labels :]} == {"uncertain"}
    published = Session().workspace("p-0").read_state()
    assert published.phase == "done"
    assert published.posterior.model_id not in (None, model.model_id)
    assert published.posterior.ensemble.generation > model.ensemble.generation
    assert published.posterior.n_audits == 0  # those of the model's own run are not its


def test_label_without_need_changes_nothing(model, structure, store, root):
    maker = production(on_uncertain="label", label_maker=label_maker("emt"), threshold=1e3)
    doc = finish(maker.make(structure, run_id="trained", production_id="p"), store)[0]
    assert doc.n_labels_added == 0
    run = Session().workspace("p-0").read_state()
    assert (run.phase, run.posterior.model_id) == ("done", model.model_id)


def test_a_killed_run_goes_on(model, structure, store, root, monkeypatch):
    maker = production(checkpoint_interval=10)
    whole = finish(maker.make(structure, run_id="trained", production_id="whole"), store)[0]
    from onfly.dynamics.driver import MDDriver as Driver

    step = Driver.step

    def killed(self, state):
        if state.step == 17:
            raise KeyboardInterrupt
        return step(self, state)

    flow = maker.make(structure, run_id="trained", production_id="torn")
    monkeypatch.setattr(Driver, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        flow.jobs[0].maker.make.original(flow.jobs[0].maker, structure, "torn-0")
    monkeypatch.setattr(Driver, "step", step)
    torn = finish(flow, store)[0]
    np.testing.assert_array_equal(rows(root, whole).tolist(), rows(root, torn).tolist())


def test_after_fine_tuning_in_one_flow(make_maker, structure):
    from onfly.stores import job_store

    tuning = make_maker(n_steps=10).make(structure, run_id="first")
    runs = production().make(structure, model_id=tuning.output.model_id, production_id="then")
    store = job_store()
    run_locally(Flow([tuning, runs]), store=store, ensure_success=True, log=False)
    doc = runs.output[0].resolve(store)
    assert doc.source_run_id == "first"
    assert doc.n_steps == 30


def test_another_cell_needs_a_threshold(model, structure, store, root):
    bigger = structure.copy()
    bigger.make_supercell([1, 1, 2])
    maker = production()
    with pytest.raises(ValueError, match="give the threshold"):
        start(maker.make(bigger, run_id="trained"))
    doc = finish(production(threshold=0.3).make(bigger, run_id="trained"), store)[0]
    assert doc.nsites == 8
    energies = rows(root, doc)["potential_energy"]
    small = finish(maker.make(structure, run_id="trained"), store)[0]
    assert energies[0] / 2 == pytest.approx(rows(root, small)["potential_energy"][0], abs=0.3)


def start(flow):
    job = flow.jobs[0]
    return job.maker.begin(Session(), job.function_args[0], job.function_args[1])


def test_what_does_not_fit_is_refused(model, structure):
    other = structure.copy()
    other.replace_species({"Cu": "Ag"})
    with pytest.raises(ModelMismatchError, match="fine-tuned on Cu, not on Ag"):
        start(production().make(other, run_id="trained"))
    with pytest.raises(ModelMismatchError, match="300 to 300 K, not 900"):
        start(production(equilibration=[MDStage(5, temperature=900.0)]).make(run_id="trained"))
    with pytest.raises(FileNotFoundError, match="no model at"):
        start(production().make(structure, run_id="nothing"))


def test_impossible_settings_are_refused_before_any_job(structure):
    with pytest.raises(ValueError, match="one of model_id, run_id and path"):
        production().make(structure)
    with pytest.raises(ValueError, match="one of model_id, run_id and path"):
        production().make(structure, run_id="a", path="b")
    with pytest.raises(ValueError, match="at least one stage"):
        production(stages=[]).make(structure, run_id="a")
    with pytest.raises(ValueError, match="needs a label_maker"):
        production(on_uncertain="label").make(structure, run_id="a")
    with pytest.raises(ValueError, match="is not stop, warn or label"):
        production(on_uncertain="hope").make(structure, run_id="a")


def test_excursions_of_a_written_log(tmp_path):
    path = tmp_path / "00000.csv"
    lines = ["step,energy_std,probability"]
    lines += [f"{i},0.{i},{p}" for i, p in enumerate(["0.01", "0.2", "", "0.3", "0.01", "nan"])]
    path.write_text("\n".join(lines))
    n_watched, found, n_uncertain = find_excursions([path], 0.05)
    assert (n_watched, n_uncertain) == (5, 3)
    assert [(e.first_step, e.last_step) for e in found] == [(1, 3), (5, 5)]
    assert found[0].max_probability == 0.3
    assert found[1].max_probability == 1.0


def test_forces_are_watched_as_in_the_run_that_made_the_model(
    make_maker, structure, store, root, caplog
):
    limits = [
        {"quantity": "energy", "value": "100 eV"},
        {"quantity": "force", "value": "1 meV/Å", "species": ["Cu"]},
    ]
    spec = {"tolerance": limits, "proof": {"attempts": 0}}
    finish(make_maker(n_steps=3, **spec).make(structure, run_id="forces"), store)
    maker = production(on_uncertain="stop")
    doc = finish(maker.make(structure, run_id="forces", production_id="f"), store)[0]
    assert doc.state == "stopped"
    assert "P(error > 0.001 eV/Å, force[Cu])" in doc.stop_reason
    assert [t["quantity"] for t in doc.tolerances] == ["energy", "force"]
    # energies alone would not have stopped it
    assert doc.threshold_ev == 100.0
