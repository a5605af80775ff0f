from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Molecule, Structure

from onfly.labels.errors import LabelError
from onfly.labels.mapping import site_order


def test_shuffled_sites_in_other_images_are_found(nacl):
    rng = np.random.default_rng(1)
    permutation = rng.permutation(len(nacl))
    images = rng.integers(-2, 3, size=(len(nacl), 3))
    computed = Structure(
        nacl.lattice,
        [nacl[i].specie for i in permutation],
        nacl.frac_coords[permutation] + images,
    )
    order = site_order(nacl, computed)
    assert np.array_equal(permutation[order], np.arange(len(nacl)))


def test_moments_and_charges_on_species_do_not_matter(nacl):
    computed = nacl.copy()
    computed.add_spin_by_element({"Na": 1.0, "Cl": -1.0})
    assert np.array_equal(site_order(nacl, computed), np.arange(len(nacl)))


@pytest.mark.parametrize("shift", [2e-4, 0.3])
def test_moved_atom_is_refused(nacl, shift):
    computed = nacl.copy()
    computed.translate_sites([3], [shift, 0, 0], frac_coords=False)
    with pytest.raises(LabelError, match="positions of Cl atoms differ"):
        site_order(nacl, computed)


def test_tiny_differences_of_printed_digits_pass(nacl):
    computed = Structure(nacl.lattice, nacl.species, np.round(nacl.frac_coords, 7))
    assert np.array_equal(site_order(nacl, computed), np.arange(len(nacl)))


def test_other_cell_is_refused(nacl):
    computed = Structure(Lattice.cubic(5.6402), nacl.species, nacl.frac_coords)
    with pytest.raises(LabelError, match="cell of the calculation differs"):
        site_order(nacl, computed)


def test_other_atoms_are_refused(nacl):
    computed = nacl.copy()
    computed.replace(0, "K")
    with pytest.raises(LabelError, match="was asked for"):
        site_order(nacl, computed)
    computed.remove_sites([0])
    with pytest.raises(LabelError, match="8 atoms were asked for, 7"):
        site_order(nacl, computed)


def test_two_requested_sites_never_share_one_computed(nacl):
    computed = nacl.copy()
    twice = nacl.copy()
    twice.translate_sites(
        [2],
        twice.lattice.get_cartesian_coords(nacl.frac_coords[0] - nacl.frac_coords[2]),
        frac_coords=False,
    )
    with pytest.raises(LabelError):
        site_order(twice, computed)


def test_molecules(water):
    computed = Molecule([water[i].specie for i in (2, 0, 1)], water.cart_coords[[2, 0, 1]])
    assert site_order(water, computed).tolist() == [1, 2, 0]
    with pytest.raises(LabelError, match="Molecule was asked for"):
        site_order(water, water.get_boxed_structure(10, 10, 10))
