"""Flows that once went another way than the user said."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from jobflow import run_locally

from onfly.flows import OnTheFlyMaker, ProductionMaker, route_jobs
from onfly.flows.check import check_run
from onfly.jobs.rounds import RoundMaker
from onfly.labels.ase import AseLabelMaker
from onfly.labels.presets import label_maker
from onfly.labels.vasp import VaspLabelMaker
from onfly.spec import MDStage
from onfly.testing.models import toy_spec
from tests.flows.conftest import machine, make_maker, store, structure

__all__ = ["machine", "make_maker", "store", "structure"]


class NoStress(Calculator):
    """Forces of nothing, and no stress."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


NPT = {"n_steps": 5, "temperature": 300.0, "ensemble": "npt", "pressure": 0.0}


def stressless():
    maker = VaspLabelMaker()
    maker.input_set_generator.user_incar_settings = {"ISIF": 0}
    return maker


@pytest.mark.parametrize(
    ("maker", "words"),
    [
        (AseLabelMaker(calculator="tests.jobs.test_defects.NoStress"), "computes no stress"),
        (stressless(), "ISIF = 0 makes VASP compute no stress"),
    ],
    ids=["ase", "vasp"],
)
def test_npt_without_stress_is_refused_before_any_work(maker, words, structure):
    spec = toy_spec(stages=[NPT])
    with pytest.raises(ValueError, match=f"{words}.*, which MD at constant pressure needs"):
        OnTheFlyMaker(spec=spec, label_maker=maker).make(structure)
    assert any(words in problem for problem in check_run(spec, [structure], maker=maker))
    judged = toy_spec(tolerance=[{"quantity": "stress", "value": "1 kbar"}])
    with pytest.raises(ValueError, match=f"{words}.*, which a tolerance of the stress needs"):
        OnTheFlyMaker(spec=judged, label_maker=maker).make(structure)
    assert any(words in problem for problem in check_run(judged, [structure], maker=maker))
    OnTheFlyMaker(spec=toy_spec(), label_maker=maker).make(structure)
    OnTheFlyMaker(spec=spec, label_maker=label_maker("emt")).make(structure)


def test_two_labellers_are_refused_instead_of_one_replaced(structure):
    one, other = label_maker("emt"), label_maker("emt", calculator_kwargs={"asap_cutoff": True})
    maker = OnTheFlyMaker(
        spec=toy_spec(), label_maker=one, round_maker=RoundMaker(label_maker=other)
    )
    with pytest.raises(ValueError, match=r"round_maker\.label_maker and label_maker differ"):
        maker.make(structure)
    maker.round_maker.label_maker = one
    maker.make(structure)


@pytest.mark.parametrize("name", ["diffusion", "otf segment", "label"])
def test_production_goes_to_gpu_workers_whatever_its_name(name, structure):
    stages = [MDStage(5, temperature=None, ensemble="nve")]
    flow = route_jobs(ProductionMaker(name=name, stages=stages).make(structure, run_id="x"))
    (job,) = flow.jobs
    assert job.config.manager_config["_category"] == "gpu"


def test_a_labeller_named_like_the_loop_is_cpu_work(make_maker, structure):
    emt = label_maker("emt")
    emt.name = "otf segment"
    job = route_jobs(emt.make(structure))
    assert job.config.manager_config["_category"] == "cpu"


def test_published_again_a_model_has_one_history(make_maker, structure, store):
    def done(flow):
        run_locally(flow, store=store, ensure_success=True, log=False, create_folders=False)

    done(make_maker(n_steps=15).make(structure, run_id="trained"))
    maker = ProductionMaker(
        stages=[MDStage(8, temperature=300.0)],
        time_step=2.0,
        on_uncertain="label",
        label_maker=label_maker("emt"),
        mode="resident",
        audit_interval=2,
        threshold=0.1,
    )
    done(maker.make(structure, run_id="trained", production_id="p"))
    docs = store.docs_store.query({"output.doc_type": "model"})
    models = {doc["output"]["run_id"]: doc["output"] for doc in docs}
    again = models["p-0"]
    assert again["n_audits"] == again["audits"]["n"] > 0
    assert again["n_audits_within"] == again["audits"]["within_threshold"]
    # what the model before had proven is not said of the new weights
    assert again["state"] != "ready"
    assert again["spec"]["proof"]["attempts"] == 0
    assert again["n_labels"] > models["trained"]["n_labels"]
