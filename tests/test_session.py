from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Molecule

from onfly.bayes.posterior import PosteriorState
from onfly.potentials import load_foundation
from onfly.schemas import to_atoms, to_structure
from onfly.session import drift_in_prior_stds
from onfly.testing.models import crystal, water


def test_drift_is_the_rms_over_all_members_and_weights(monkeypatch):
    potential = load_foundation("toy", ["Cu", "Au"])
    start = potential.parameters()
    first = next(iter(start))
    monkeypatch.setattr(potential, "prior_scale", lambda: {first: 0.5}, raising=False)
    # members 1 and 3 prior stds away, where the prior of one tensor is half as wide
    members = tuple(
        {name: value + k * 0.2 * (0.5 if name == first else 1.0) for name, value in start.items()}
        | {"head.0.bias": value_of_a_head}
        for k, value_of_a_head in ((1, start[first] + 100), (3, start[first] - 100))
    )
    state = PosteriorState("sghmc", members)
    drift = drift_in_prior_stds(state, SimpleNamespace(prior_std=0.2), potential)
    assert drift == pytest.approx(np.sqrt((1 + 9) / 2), rel=1e-5)
    own = drift_in_prior_stds(state, SimpleNamespace(), potential)
    assert own == pytest.approx(drift * 0.2 / potential.defaults.prior_std, rel=1e-5)


@pytest.mark.parametrize("structure", [crystal(), water()])
def test_atoms_and_back(structure):
    structure.add_site_property("magmom", [1.0] * len(structure))
    atoms = to_atoms(structure)
    assert set(atoms.arrays) == {"numbers", "positions"}
    assert atoms.pbc.all() == (not isinstance(structure, Molecule))
    again = to_structure(atoms)
    assert type(again) is type(structure)
    np.testing.assert_allclose(again.cart_coords, structure.cart_coords, atol=1e-12)
    assert [s.specie.symbol for s in again] == [s.specie.symbol for s in structure]
