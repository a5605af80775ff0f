"""Queries on 100 000 models stay look-ups by an index."""

from __future__ import annotations

import time
from datetime import timedelta

import numpy as np
import pytest

from onfly.library import ModelLibrary
from onfly.library.criteria import model_criteria
from onfly.library.documents import model_record
from onfly.settings import get_settings
from onfly.testing.models import toy_model

pytestmark = [pytest.mark.mongo, pytest.mark.slow]

N_MODELS = 100_000
LIMIT_SECONDS = 0.050
FIRST = ("Li", "Na", "K", "Ca", "Sr", "Ba", "La", "Y", "Mg", "Zn")
SECOND = ("Ti", "Zr", "Hf", "V", "Nb", "Mn", "Fe", "Co", "Ni", "Cu")
ANION = ("O", "S", "Se", "F", "Cl", "N")

QUERIES = {
    "formula": {"formula": "CaZrS3"},
    "formula and state": {"formula": "CaZrS3", "state": "ready", "limit": 1},
    "chemical system": {"chemsys": "Ca-S-Zr"},
    "elements": {"elements": ["Ca", "Zr"], "limit": 20},
    "foundation model": {"foundation_model": "mace-mp-medium", "limit": 20},
    "level of theory": {"level_of_theory": "HSE", "limit": 20},
    "threshold": {"threshold_ev": (0.0, 0.0101), "limit": 20},
    "threshold and formula": {"threshold_ev": 0.05, "formula": "CaZrS3"},
    "temperature": {"temperature": 1500, "formula": "CaZrS3"},
    "coverage": {"min_coverage": 0.9999, "limit": 20},
    "campaign": {"campaign": "campaign-17", "limit": 20},
    "state": {"state": "stopped", "limit": 20},
    "newest": {"limit": 20},
}


@pytest.fixture(scope="module")
def library(mongo_uri, tmp_path_factory):
    from onfly.testing.mongo import MongoAddress, new_database_name

    address = MongoAddress(mongo_uri, new_database_name())
    root = tmp_path_factory.mktemp("scale")
    settings = get_settings(JOB_STORE=address.job_store_spec(), ARTIFACT_DIR=root)
    library = ModelLibrary.from_settings(settings, refresh=False)
    library.ensure_indexes()
    doc = toy_model(root)
    base = model_record(doc, {"blob_uuid": "x", "store": "data"})
    rng = np.random.default_rng(0)
    collection = library.models_store._collection
    for start in range(0, N_MODELS, 5000):
        collection.insert_many([_synthetic(base, i, rng) for i in range(start, start + 5000)])
    yield library
    with address.client() as client:
        client.drop_database(address.database)


def _synthetic(base, i, rng):
    a, b, x = (str(rng.choice(names)) for names in (FIRST, SECOND, ANION))
    n = int(rng.integers(2, 5))
    low = float(rng.choice([100, 300, 500]))
    return base | {
        "model_id": f"synthetic-{i}",
        "run_id": f"run-{i}",
        "formula_pretty": f"{a}{b}{x}{n}",
        "chemsys": "-".join(sorted((a, b, x))),
        "elements": sorted((a, b, x)),
        "foundation_model": str(rng.choice(["mace-mp-medium", "chgnet-0.3.0", "sevennet-0"])),
        "level_of_theory": str(rng.choice(["PBE", "PBE", "PBE", "SCAN", "HSE"])),
        "campaign": f"campaign-{rng.integers(500)}",
        "state": str(rng.choice(["ready", "ready", "ready", "unproven", "stopped"])),
        "threshold_ev": float(rng.uniform(0.01, 0.5)),
        "coverage": float(rng.uniform(0.5, 1.0)),
        "temperature_min": low,
        "temperature_max": low + float(rng.choice([0, 500, 1000, 1500])),
        "created_at": base["created_at"] + timedelta(seconds=int(rng.integers(10**8))),
    }


@pytest.mark.parametrize("name", QUERIES)
def test_queries_use_an_index_and_are_fast(library, name):
    criteria = QUERIES[name]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        found = library.query(**criteria)
        times.append(time.perf_counter() - start)
    assert found
    dates = [model.created_at for model in found]
    assert dates == sorted(dates, reverse=True)
    print(f"{name}: {len(found)} models, median {1e3 * sorted(times)[2]:.1f} ms")
    assert sorted(times)[2] < LIMIT_SECONDS
    query = model_criteria(**{k: v for k, v in criteria.items() if k != "limit"})
    cursor = library.models_store._collection.find(query).sort("created_at", -1)
    plan = str(cursor.limit(criteria.get("limit", 0)).explain()["queryPlanner"])
    assert "IXSCAN" in plan, plan
    assert "COLLSCAN" not in plan, plan


def test_get_is_fast(library):
    times = []
    for i in (5, 77, 500, 50_000, 99_999):
        start = time.perf_counter()
        assert library.get(f"synthetic-{i}").run_id == f"run-{i}"
        times.append(time.perf_counter() - start)
    assert sorted(times)[2] < LIMIT_SECONDS
