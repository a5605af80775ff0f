"""Flows of relaxations and barriers, alone and nested in other flows."""

from __future__ import annotations

import pytest
from ase.build import bulk
from jobflow import Flow, job, run_locally
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from onfly import OnTheFlyNebMaker, OnTheFlyRelaxMaker, label_maker
from onfly.artifacts.workspace import RunWorkspace
from onfly.schemas.search import BarrierDoc, RelaxationDoc
from onfly.settings import get_settings
from onfly.testing.models import toy_spec

QUICK = {"posterior": {"kind": "last_layer", "n_steps": 40}}


def finish(flow, store):
    run_locally(flow, store=store, ensure_success=True, log=False, create_folders=False)
    return flow.output.resolve(store)


def relaxing(mode="resident", **stage):
    spec = toy_spec(stages=[{"driver": "relax", "n_steps": 100} | stage], threshold=0.5, **QUICK)
    return OnTheFlyRelaxMaker(spec=spec, mode=mode, fmax=0.05, label_maker=label_maker("emt"))


def hopping(mode="resident"):
    return OnTheFlyNebMaker(
        spec=toy_spec(stages=[{"driver": "neb", "n_steps": 60}], walkers=3, threshold=1.0, **QUICK),
        fmax="0.1 eV/Å",
        n_images=3,
        mode=mode,
        label_maker=label_maker("emt"),
    )


def minima():
    first = bulk("Cu", cubic=True) * (2, 1, 1)
    place = first.positions[0].copy()
    del first[0]
    last = first.copy()
    last.positions[0] = place
    return [AseAtomsAdaptor.get_structure(atoms) for atoms in (first, last)]


@job
def shaken(structure: Structure) -> Structure:
    return structure.copy().perturb(0.02)


@pytest.mark.parametrize("mode", ["resident", "chained"])
def test_a_relaxation_puts_out_its_structure(structure, store, mode):
    doc = finish(relaxing(mode).make(structure, run_id="r"), store)
    assert isinstance(doc, RelaxationDoc)
    assert doc.state == "ready"
    assert doc.relaxed[0].largest_force <= 0.05
    assert doc.energy == pytest.approx(doc.relaxed[0].energy)
    assert doc.model_id is not None
    folder = RunWorkspace(get_settings().ARTIFACT_DIR, "r").folder
    read = RelaxationDoc.model_validate_json((folder / "relaxation.json").read_text())
    assert read.structure == doc.structure


def test_both_modes_give_the_same_barrier(store):
    found = [finish(hopping(mode).make(*minima()), store) for mode in ("resident", "chained")]
    for doc in found:
        assert isinstance(doc, BarrierDoc)
        assert doc.state == "ready", doc.sentence
        assert doc.saddle == 1
        forward = doc.forward
        assert forward.labelled == pytest.approx(doc.backward.labelled, abs=0.01)
        assert abs(forward.predicted - forward.labelled) <= forward.interval
        assert doc.saddle_force <= 0.1
        assert [image.labelled is None for image in doc.images] == [False] * 3
        assert doc.images[0].predicted == 0.0
    assert found[0].forward == found[1].forward
    assert found[0].n_labels == found[1].n_labels


def test_a_relaxation_in_a_flow_of_another(structure, store):
    first = shaken(structure)
    relax = relaxing().make(first.output)
    again = shaken(relax.output.structure)
    flow = Flow([first, relax, again], output=again.output)
    assert isinstance(finish(flow, store), Structure)


def test_what_is_no_path_is_refused():
    first, last = minima()
    with pytest.raises(ValueError, match="same configuration"):
        hopping().make(first, first)
    with pytest.raises(ValueError, match="same atoms in the same order"):
        hopping().make(first, Structure(last.lattice, ["Au"] * 7, last.frac_coords))
    with pytest.raises(ValueError, match="two ends"):
        hopping().make(first)
    with pytest.raises(ValueError, match="at least 3 images"):
        OnTheFlyNebMaker(n_images=2).make(first, last)


def test_a_spec_of_md_is_no_relaxation(structure):
    maker = OnTheFlyRelaxMaker(spec=toy_spec(stages=[{"n_steps": 5}], threshold=0.1))
    with pytest.raises(ValueError, match="driver: relax"):
        maker.make(structure)
