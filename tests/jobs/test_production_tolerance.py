"""What a production run watches."""

from __future__ import annotations

import pytest

from onfly.jobs.production_tolerance import watched
from onfly.schemas import to_atoms
from onfly.settings import get_settings
from onfly.spec import Tolerance
from onfly.testing.models import crystal, toy_model

ENERGY = Tolerance(quantity="energy", value=0.1)
PER_ATOM = Tolerance(quantity="energy_per_atom", value=0.02)
FORCE = Tolerance(quantity="force", value=0.2, species=("Cu",))
SITES = Tolerance(quantity="force", value=0.2, sites=(0, 2))
REGION = Tolerance(quantity="force", value=0.2, region="no.such.function")
STRESS = Tolerance(quantity="stress", value=0.01)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path))
    return toy_model(get_settings().ARTIFACT_DIR, tolerance_atoms={REGION.name: (1, 3)})


def of(model, *tolerances, threshold=None, size=1):
    cell = crystal()
    cell.make_supercell([1, 1, size])
    return watched(
        model, tolerances, to_atoms(cell), size=size, threshold=threshold, max_probability=0.1
    )


def test_all_of_the_model_are_watched(model):
    found = of(model, ENERGY, FORCE, STRESS)
    assert [t.name for t in found.tolerances] == ["energy", "force[Cu]", "stress"]
    assert {t.max_probability for t in found.tolerances} == {0.1}
    numbers = to_atoms(crystal()).numbers
    assert found.atoms == {"force[Cu]": tuple(i for i, z in enumerate(numbers) if z == 29)}
    assert found.threshold == 0.1


def test_a_model_without_an_energy_tolerance(model):
    found = of(model, FORCE, size=2)
    assert found.threshold is None
    assert len(found.atoms["force[Cu]"]) == 2 * len(of(model, FORCE).atoms["force[Cu]"])


def test_a_threshold_replaces_those_of_energies_only(model):
    found = of(model, ENERGY, PER_ATOM, STRESS, threshold=0.3)
    assert [(t.name, t.value) for t in found.tolerances] == [("energy", 0.3), ("stress", 0.01)]
    assert found.threshold == 0.3


def test_other_cells(model):
    with pytest.raises(ValueError, match="threshold is that of 4 atoms, the structure has 8"):
        of(model, ENERGY, size=2)
    assert of(model, PER_ATOM, size=2).threshold == pytest.approx(0.16)
    with pytest.raises(ValueError, match="fine-tune with `species`"):
        of(model, SITES, size=2)
    assert of(model, SITES).atoms[SITES.name] == (0, 2)


def test_the_function_of_a_region_is_never_imported(model):
    assert of(model, REGION).atoms[REGION.name] == (1, 3)
    with pytest.raises(ValueError, match="about atoms of the model's cell"):
        of(model.model_copy(update={"tolerance_atoms": {}}), REGION)
