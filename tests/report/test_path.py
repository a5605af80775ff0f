"""The figure of a path."""

from __future__ import annotations

import pytest
from ase.build import bulk

from onfly.artifacts import RunWorkspace
from onfly.report.data import load_run
from onfly.report.figures_path import barrier
from onfly.report.page import sections
from onfly.report.plot import style
from onfly.report.tables import facts, tiles
from onfly.schemas import from_any_structure, to_structure
from onfly.schemas.search import BarrierDoc, BarrierValue, ImageDoc
from onfly.testing.models import toy_run, toy_spec, write_toy_run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path))
    return RunWorkspace(tmp_path, write_toy_run(tmp_path, toy_run()).run_id).folder


def document():
    structure = to_structure(bulk("Cu"))
    value = BarrierValue(labelled=0.71, predicted=0.7, std=0.02, interval=0.05)
    return from_any_structure(
        BarrierDoc,
        structure,
        run_id="r",
        state="ready",
        sentence="Ready.",
        stop_reason="the labels at the end agree",
        foundation_model="toy",
        labeller="emt",
        fmax=0.05,
        n_labels=5,
        n_waits=2,
        n_steps=30,
        forward=value,
        backward=value,
        saddle=1,
        images=[
            ImageDoc(length=k, predicted=p, std=0.01 * k, labelled=e, structure=structure)
            for k, (p, e) in enumerate([(0.0, 0.0), (0.7, 0.71), (0.1, None)])
        ],
    )


def test_the_path_is_drawn_with_its_labels(folder):
    with style():
        assert barrier(load_run(folder)) is None
        (folder / "barrier.json").write_text(document().model_dump_json())
        data = load_run(folder)
        drawing = barrier(data)
        assert "Forward barrier: 0.700 ± 0.050 eV by the model (95 %), 0.710 eV" in drawing.note
        assert sorted(map(len, drawing.hover.values())) == [2, 3]
        shown = {s.key: [d.key for d in s.drawings] for s in sections(data)}
        assert shown["dynamics"] == ["path"]


def test_a_damaged_document_is_a_problem_and_no_crash(folder):
    (folder / "barrier.json").write_text("{")
    data = load_run(folder)
    assert data.barrier is None
    assert any("barrier.json" in problem for problem in data.problems)


@pytest.mark.parametrize(
    ("stage", "proof", "title"),
    [
        (
            {"driver": "relax", "fmax": 0.03},
            "labels of the relaxed configuration keep",
            "Relaxation",
        ),
        ({"driver": "neb"}, "labels of ends and saddle keep", "Path"),
    ],
)
def test_the_page_of_a_search_says_nothing_of_blocks_and_audits(
    tmp_path, monkeypatch, stage, proof, title
):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path))
    walkers = 3 if stage["driver"] == "neb" else 1
    spec = toy_spec(stages=[{"n_steps": 20, **stage}], walkers=walkers, proof={})
    data = load_run(
        RunWorkspace(tmp_path, write_toy_run(tmp_path, toy_run(spec=spec)).run_id).folder
    )
    rows = dict(facts(data))
    assert rows["Proof"].startswith(proof)
    assert "0.03 eV/Å" in rows["Proof"] or stage["driver"] == "neb"
    assert "only the end is labelled" in rows["Calls for a label when"]
    assert not {"Audits", "Time step"} & set(rows)
    assert not any("Audits" in tile["name"] for tile in tiles(data))
    with style():
        parts = {section.key: section for section in sections(data)}
    assert parts["dynamics"].title == title
    assert not any("audit" in text for part in parts.values() for text in part.missing)
    # MD has them all
    plain = load_run(RunWorkspace(tmp_path, write_toy_run(tmp_path, toy_run("md")).run_id).folder)
    assert {"Audits", "Time step"} <= set(dict(facts(plain)))
