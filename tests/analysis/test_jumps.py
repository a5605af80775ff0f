from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from onfly.analysis.jumps import assign_hosts, find_jumps, residence_times

# hosts S at x = 0, 4, 8 of a periodic cell of 12 Å, so that the last neighbours the first
HOSTS = np.array([[0.0, 0, 0], [4.0, 0, 0], [8.0, 0, 0]])


def _frames(xs):
    return [
        Atoms("S3H", positions=np.vstack([HOSTS, [[x, 0, 0]]]), cell=[12, 9, 9], pbc=True)
        for x in xs
    ]


def test_constructed_jumps_through_the_boundary():
    jumps = find_jumps(_frames([1, 1.2, 3.0, 3.2, 5, 7, 7.2, 9.5, 11.2, 11.5]), "H", "S")
    assert [(j.frame, j.particle, j.origin, j.target) for j in jumps] == [
        (2, 3, 0, 1),
        (5, 3, 1, 2),
        (8, 3, 2, 0),
    ]
    assert residence_times(jumps).tolist() == [3, 3]


def test_rattling_half_way_is_no_jump():
    x = 2 + 0.08 * np.cos(np.pi * np.arange(40))  # distances differ by 0.16 Å
    assert find_jumps(_frames(x), "H", "S", margin=0.2) == []
    assert len(find_jumps(_frames(x), "H", "S", margin=0.0)) == 39


def test_short_visits_can_be_left_out():
    xs = [1, 1, 1, 3, 1, 1, 3, 3, 3, 3]
    assert len(find_jumps(_frames(xs), "H", "S")) == 3
    lasting = find_jumps(_frames(xs), "H", "S", min_stay=3)
    assert [(j.frame, j.origin, j.target) for j in lasting] == [(6, 0, 1)]


def test_assignment_by_indices_and_of_several_particles():
    atoms = Atoms("S3H2", positions=np.vstack([HOSTS, [[0.9, 0, 0]], [[8.9, 0, 0]]]), cell=[12] * 3)
    later = atoms.copy()
    later.positions[4, 0] = 4.5
    particles, hosts = assign_hosts([atoms, later], [4, 3], [0, 1, 2])
    assert particles.tolist() == [4, 3]
    assert hosts.tolist() == [[2, 0], [1, 0]]


def test_many_jumps_are_counted_exactly():
    rng = np.random.default_rng(0)
    site, xs, expected = 0, [], 0
    for _ in range(200):
        xs += list(4 * site + rng.normal(scale=0.15, size=rng.integers(5, 20)))
        step = rng.choice([-1, 1])
        site += step
        expected += 1
    jumps = find_jumps(_frames(np.mod(xs, 12)), "H", "S")
    assert len(jumps) == expected - 1
    assert len(residence_times(jumps)) == expected - 2


def test_bad_input():
    with pytest.raises(ValueError, match="no atoms match"):
        find_jumps(_frames([1]), "Li", "S")
    with pytest.raises(ValueError, match="no frames"):
        find_jumps([], "H", "S")
