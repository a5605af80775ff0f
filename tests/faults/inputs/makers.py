"""Flows that cannot be: what is given to the Makers in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.build import bulk
from atomate2.cp2k.jobs.core import StaticMaker as Cp2kStaticMaker
from atomate2.vasp.jobs.core import NonSCFMaker, RelaxMaker
from atomate2.vasp.jobs.core import StaticMaker as VaspStaticMaker
from jobflow import Flow
from pymatgen.core import Lattice, Molecule, Structure

from onfly import CampaignMaker, OnTheFlyMaker, RunSpec, label_maker
from onfly.labels.ase import AseLabelMaker
from onfly.labels.vasp import VaspLabelMaker

__all__ = ["MAKERS", "MakerCase"]


@dataclass(frozen=True)
class MakerCase:
    """A call that is to be refused by a ValueError or TypeError with a phrase."""

    name: str
    call: Callable[[], Any]
    says: str


def copper(**changes: Any) -> Structure:
    """Return four atoms of copper, with one position or the cell changed."""
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.01], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    sites[0] += changes.get("shift", 0.0)
    cell = changes.get("cell", Lattice.cubic(3.61))
    return Structure(cell, [changes.get("element", "Cu")] * 4, sites)


def make(structure: Any = None, run_id: str | None = None, **fields: Any) -> Flow:
    """Make the flow of a run that differs from a good one."""
    good = {"foundation_model": "toy", "threshold": "100 meV", "n_steps": 40,
            "label_maker": label_maker("emt")}  # fmt: skip
    chosen = {k: v for k, v in (good | fields).items() if v is not ...}
    return OnTheFlyMaker(**chosen).make(copper() if structure is None else structure, run_id=run_id)


def spec(**changes: Any) -> RunSpec:
    """Return settings that differ from good ones."""
    good = {"foundation_model": "toy", "threshold": 0.1, "stages": [{"n_steps": 40}]}
    if "tolerance" in changes:
        del good["threshold"]
    return RunSpec.from_flat(good | changes)


def with_spec(structure: Any = None, **changes: Any) -> Flow:
    """Make the flow of such settings."""
    maker = OnTheFlyMaker(spec=spec(**changes), label_maker=label_maker("emt"))
    return maker.make(copper() if structure is None else structure)


def campaign(structures: Iterable[Any], **fields: Any) -> list[Flow]:
    """Make the flows of a campaign."""
    maker = OnTheFlyMaker(spec=spec(), label_maker=label_maker("emt"))
    return CampaignMaker(**{"maker": maker, "campaign": "c"} | fields).make(structures)


def vasp(**incar: Any) -> Flow:
    """Make a flow whose labels are VASP's, with tags of the INCAR."""
    return make(label_maker=VaspLabelMaker.from_preset("pbe", user_incar_settings=incar))


_HALF = Structure(Lattice.cubic(3.61), [{"Cu": 0.5}], [[0, 0, 0]])
_SLAB = Structure(Lattice(np.eye(3) * 9.0, pbc=(True, True, False)), ["Cu"], [[0, 0, 0]])
_MOLECULE = Molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.74]])
MAKERS = tuple(
    MakerCase(*case)
    for case in (
        ("an Atoms", lambda: make(bulk("Cu", cubic=True)), "from_atoms|give a pymatgen"),
        ("a file name", lambda: make("POSCAR"), "give a pymatgen"),
        ("a number", lambda: make(5), "give a pymatgen|int"),
        ("a list of nothing", lambda: make([]), "no structure"),
        ("a list with None", lambda: make([copper(), None]), "structure 2 is a NoneType"),
        ("a position of nan", lambda: make(copper(shift=np.nan)), "nan or infinite"),
        ("a position of inf", lambda: make(copper(shift=np.inf)), "nan or infinite"),
        ("two atoms at one place", lambda: make(copper(shift=[0.5, 0, 0.5])), "on top of each"),
        ("a cell of a nanometre", lambda: make(copper(cell=Lattice.cubic(0.361))), "per atom"),
        ("a compressed cell", lambda: make(copper(cell=Lattice.cubic(1.7))), "covalent radii"),
        ("half an atom", lambda: make(_HALF), "partial occupancies"),
        ("a slab", lambda: make(_SLAB), "periodic in some directions"),
        ("too many atoms", lambda: with_spec(max_atoms=3), "above the limit of 3"),
        ("the second of two", lambda: make([copper(), copper(shift=np.nan)]), "structure 2"),
        ("other atoms", lambda: make([copper(), copper(element="Au")]), "Au|same atoms|compos"),
        ("other number", lambda: make([copper(), copper() * (2, 1, 1)]), "atoms|compos"),
        ("3 starts for 2 walkers",
         lambda: make([copper()] * 3, walkers=2), "walkers|structures"),
        ("npt with a molecule", lambda: make(
            _MOLECULE, n_steps=None, stages=[{"n_steps": 5, "ensemble": "npt", "pressure": 0.0}]),
         "periodic structure"),
        ("a run id that leads out", lambda: make(run_id="../x"), "cannot name a folder"),
        ("an empty run id", lambda: make(run_id=""), "cannot name a folder"),
        ("a run id of 300 letters", lambda: make(run_id="x" * 300), "cannot name a folder"),
        ("a misspelt foundation", lambda: make(foundation_model="tooy"), "unknown foundation"),
        ("a missing model file", lambda: make(foundation_model="./x.model"), "no model file"),
        ("an unknown element", lambda: make(
            copper(element="Cm"), foundation_model="chgnet-0.3.0",
            label_maker=AseLabelMaker(calculator="ase.calculators.lj.LennardJones")), "Cm"),
        ("a threshold without unit in a text", lambda: make(threshold="100"), "has no unit"),
        ("a threshold of nan", lambda: make(threshold=float("nan")), "threshold|finite|value"),
        ("a negative threshold", lambda: make(threshold=-0.1), "greater than 0"),
        ("a threshold of true", lambda: make(threshold=True), "threshold|true|value"),
        ("no steps", lambda: make(n_steps=0), "n_steps"),
        ("a negative temperature", lambda: make(temperature=-5), "not positive"),
        ("a temperature of nan", lambda: make(temperature=float("nan")), "temperature"),
        ("stages and steps", lambda: make(stages=[{"n_steps": 5}]), "not both"),
        ("stages with a misspelling", lambda: make(n_steps=None, stages=[{"nsteps": 5}]), "nsteps"),
        ("a walker less than one", lambda: make(walkers=0), "walkers"),
        ("no initial labels", lambda: make(initial_labels=0), "initial_labels"),
        ("a negative seed", lambda: make(seed=-1), "seed"),
        ("a mode", lambda: make(mode="fast"), "mode 'fast'"),
        ("a friction of nan", lambda: with_spec(
            stages=[{"n_steps": 5, "ase_md_kwargs": {"friction": float("nan")}}]), "friction"),
        ("a friction misspelt", lambda: with_spec(
            stages=[{"n_steps": 5, "ase_md_kwargs": {"frictoin": 0.1}}]), "frictoin"),
        ("an unknown driver", lambda: with_spec(stages=[{"n_steps": 5, "driver": "x"}]),
         "unknown driver"),
        ("two drivers", lambda: with_spec(
            stages=[{"n_steps": 5}, {"n_steps": 5, "driver": "x"}]), "one driver"),
        ("an unknown posterior", lambda: with_spec(posterior="magic"), "unknown posterior"),
        ("an option of the posterior", lambda: with_spec(posterior={"kind": "sghmc", "x": 1}), "x"),
        ("a number of members as a word", lambda: with_spec(
            posterior={"kind": "sghmc", "n_members": "few"}), "n_members"),
        ("a prior of nan", lambda: with_spec(
            posterior={"kind": "sghmc", "prior_std": float("nan")}), "prior_std"),
        ("a tolerance of absent atoms", lambda: with_spec(
            tolerance=[{"quantity": "force", "value": 0.1, "species": "H"}]), "has no H"),
        ("a misspelt labeller", lambda: make(
            label_maker=None, spec=spec(labeller="emtt")), "unknown labeller"),
        ("a shell as labeller", lambda: make(
            label_maker=None, spec=spec(labeller="os.system")), "no Maker"),
        ("a calculator as labeller", lambda: make(label_maker=bulk("Cu")), "not a Maker"),
        ("a name as labeller", lambda: make(label_maker="emt"), "not a Maker"),
        ("a relaxation", lambda: make(label_maker=RelaxMaker()), "single point"),
        ("a band structure", lambda: make(label_maker=NonSCFMaker()), "self-consistent"),
        ("emt of sodium", lambda: make(copper(element="Na", cell=Lattice.cubic(4.5))),
         "does not know Na"),
        ("os.system as calculator", lambda: make(
            label_maker=AseLabelMaker(calculator="os.system")), "no ASE calculator"),
        ("a keyword of a calculator", lambda: make(label_maker=AseLabelMaker(
            calculator="ase.calculators.emt.EMT", calculator_kwargs={"x": 1})), "'x'"),
        ("a keyword that is an object", lambda: make(label_maker=AseLabelMaker(
            calculator="ase.calculators.emt.EMT", calculator_kwargs={"asap_cutoff": object()})),
         "cannot be written"),
        ("a molecule for VASP", lambda: make(_MOLECULE, label_maker=VaspStaticMaker()), "a cell"),
        ("no stress for npt", lambda: make(
            n_steps=None, stages=[{"n_steps": 5, "ensemble": "npt", "pressure": 0.0}],
            label_maker=VaspLabelMaker.from_preset("pbe", user_incar_settings={"ISIF": 0})),
         "ISIF"),
        ("NSW", lambda: vasp(NSW=20), "NSW = 20"),
        ("ENCUT", lambda: vasp(ENCUT="five hundred"), "ENCUT = 'five hundred'"),
        ("ICHARG", lambda: vasp(ICHARG=11), "ICHARG = 11"),
        ("another labeller in the jobs", lambda: _two_labellers(), "differ"),
        ("a campaign of nothing", lambda: campaign([]), "no structures"),
        ("a campaign with one twice", lambda: campaign([copper(), copper()]), "are the same"),
        ("a campaign with nan", lambda: campaign([copper(shift=np.nan)]), "nan or infinite"),
        ("a campaign with half an atom", lambda: campaign([_HALF]), "partial occup"),
        ("a campaign of names", lambda: campaign(["POSCAR"]), "pymatgen|str"),
        ("a campaign of None", lambda: campaign([None]), "pymatgen|NoneType"),
        ("a campaign of sodium and emt", lambda: campaign(
            [copper(), copper(element="Na", cell=Lattice.cubic(4.5))]), "does not know Na"),
        ("an override of nothing", lambda: campaign(
            [copper()], overrides={"NaCl": {"threshold": 0.1}}), "fit no compound"),
        ("an override misspelt", lambda: campaign(
            [copper()], overrides={"Cu": {"thresold": 0.1}}), "overrides of Cu.*thresold"),
        ("an override with nan", lambda: campaign(
            [copper()], overrides={"Cu": {"max_force": float("nan")}}), "overrides of Cu"),
        ("an override of the foundation", lambda: campaign(
            [copper()], overrides={"Cu": {"foundation_model": "tooy"}}), "unknown foundation"),
        ("an override that is a number", lambda: campaign([copper()], overrides={"Cu": 5}), "Cu"),
    )
)  # fmt: skip


def _two_labellers() -> Flow:
    from onfly.jobs.rounds import RoundMaker

    return make(round_maker=RoundMaker(label_maker=Cp2kStaticMaker()))
