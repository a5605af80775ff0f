"""Barriers and relaxations on the posterior against the same on the labeller.

A path: a vacancy hops in rock salt, in 31 atoms. CHGNet is tuned to CHGNet-r2SCAN, whose own band,
ends relaxed and highest image climbing, is the truth and the price to beat. Relaxations: rattled
and strained cells, atoms and cell relaxed. Both also with the untuned foundation alone.

    python benchmarks/barriers.py --json barriers.json            # all
    python benchmarks/barriers.py --quick                         # the toy potential, EMT labels
    python benchmarks/barriers.py --only paths --cases mgo-mg     # one of the paths
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.stress import voigt_6_to_full_3x3_stress
from common import Report, arguments
from monty.json import MontyDecoder, MontyEncoder
from truth_runs import Teacher, TeacherCalculator

from onfly.dynamics.neb import CLIMB_AT, interpolated
from onfly.dynamics.relax_optimizers import largest_force
from onfly.jobs.resident import run_loop
from onfly.labels.single_point import build_calculator
from onfly.potentials.execution import one_thread
from onfly.rounds.new import new_run
from onfly.rounds.results import barrier_document, relaxation_document
from onfly.schemas import to_atoms, to_structure
from onfly.schemas.search import BarrierDoc
from onfly.session import Session
from onfly.settings import OnflySettings
from onfly.spec import RunSpec

CHGNET, R2SCAN = "chgnet-0.3.0", "chgnet-r2scan"
N_IMAGES = 5
PATH_FMAX, RELAX_FMAX = 0.05, 0.02  # eV/Å


class Counted(Calculator):
    """A calculator that counts the configurations it evaluates."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, source: str) -> None:
        super().__init__()
        self.inner = (
            build_calculator(source, {}) if source.startswith("ase.") else TeacherCalculator(source)
        )
        self.n = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        """Evaluate and count."""
        super().calculate(atoms, properties, system_changes)
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)
        copy.calc = self.inner
        energy = copy.get_potential_energy()
        self.results = {"energy": energy, "free_energy": energy, "forces": copy.get_forces()}
        self.results["stress"] = copy.get_stress()
        self.n += 1


@dataclass(frozen=True)
class Hop:
    """A vacancy that hops to the nearest site of its element.

    Parameters
    ----------
    crystal
        Makes the perfect crystal.
    symbol
        Element of the vacancy.
    student, teacher
        Foundation and labeller.
    threshold
        eV, of the cell.
    """

    crystal: Callable[[], Atoms]
    symbol: str
    student: str = CHGNET
    teacher: str = R2SCAN
    threshold: float = 0.05
    images: int = N_IMAGES

    def ends(self) -> tuple[Atoms, Atoms]:
        """Return both ends, not relaxed."""
        perfect = self.crystal()
        sites = [k for k, s in enumerate(perfect.get_chemical_symbols()) if s == self.symbol]
        hole = sites[0]
        order = np.argsort(perfect.get_distances(hole, sites, mic=True), kind="stable")
        hops = sites[int(order[1])]
        first, last = perfect.copy(), perfect.copy()
        last.positions[hops] = perfect.positions[hole]
        del first[hole]
        del last[hole]
        return first, last


def _salt(formula: str, a: float) -> Callable[[], Atoms]:
    return lambda: bulk(formula, "rocksalt", a=a, cubic=True) * (2, 2, 1)


PATHS = {
    "mgo-mg": Hop(_salt("MgO", 4.21), "Mg"),
    "nacl-na": Hop(_salt("NaCl", 5.64), "Na"),
    "mgo-o": Hop(_salt("MgO", 4.21), "O"),
    "toy": Hop(
        lambda: bulk("Cu", cubic=True) * (2, 1, 1), "Cu", "toy", "ase.calculators.emt.EMT", 0.2, 3
    ),
}  # fmt: skip
CELLS: dict[str, Callable[[], Atoms]] = {
    "mgo": lambda: bulk("MgO", "rocksalt", a=4.21, cubic=True),
    "nacl": lambda: bulk("NaCl", "rocksalt", a=5.64, cubic=True),
    "si": lambda: bulk("Si", cubic=True),
    "cao": lambda: bulk("CaO", "rocksalt", a=4.81, cubic=True),
    "toy": lambda: bulk("Cu", cubic=True),
}


def known_path(hop: Hop, source: str, path: Path) -> dict[str, Any]:
    """Return `plain_path`, from a file if it was found before."""
    if not path.exists():
        found = plain_path(hop, source)
        path.write_text(json.dumps(found, cls=MontyEncoder))
    return json.loads(path.read_text(), cls=MontyDecoder)


def plain_path(hop: Hop, source: str) -> dict[str, Any]:
    """Return barrier and calls of a band on a calculator: ends relaxed, highest image climbing."""
    calculators: list[Counted] = []

    def own(atoms: Atoms) -> Atoms:
        atoms.calc = Counted(source)
        calculators.append(atoms.calc)
        return atoms

    ends = [own(atoms) for atoms in hop.ends()]
    for end in ends:
        BFGS(end, logfile=None).run(fmax=PATH_FMAX, steps=200)
    images = [own(atoms) for atoms in interpolated(ends[0], ends[1], hop.images)]
    # the energies of the ends are known from their relaxation
    images[0].calc, images[-1].calc = ends[0].calc, ends[1].calc
    for image, end in ((images[0], ends[0]), (images[-1], ends[1])):
        image.calc = end.calc
        image.positions, image.calc.atoms = end.positions.copy(), image.copy()
    band = NEB(images, climb=False, method="improvedtangent", k=0.1)
    FIRE(band, logfile=None).run(fmax=CLIMB_AT * PATH_FMAX, steps=200)
    band.climb = True
    converged = FIRE(band, logfile=None).run(fmax=PATH_FMAX, steps=200)
    energies = np.array([image.get_potential_energy() for image in images])
    return {
        "barrier": float(energies.max() - energies[0]),
        "calls": sum(c.n for c in calculators),
        "converged": bool(converged),
        "saddle": to_structure(images[int(np.argmax(energies))]),
        "end": to_structure(ends[0]),
    }


def tuned_path(
    hop: Hop, folder: Path, name: str, options: dict, seed: int, stage: dict
) -> BarrierDoc:
    """Return the document of the path that the loop finds."""
    spec = RunSpec.from_flat(
        {
            "foundation_model": hop.student,
            "threshold": hop.threshold,
            "walkers": hop.images,
            "stages": [{"driver": "neb", "n_steps": 200, "fmax": PATH_FMAX, **stage}],
            "seed": seed,
            **options,
        }
    )
    images = [to_structure(atoms) for atoms in interpolated(*hop.ends(), hop.images)]
    session = Session(OnflySettings(ARTIFACT_DIR=folder))
    state = new_run(spec, images[0], run_id=name)
    state = run_loop(state, images, Teacher(hop.teacher).maker(), session=session, n_workers=1)
    return barrier_document(session, state)


def paths(
    report: Report, names: list[str], folder: Path, options: dict, seed: int, stage: dict
) -> None:
    """Measure barriers."""
    for name in names:
        hop = PATHS[name]
        start = time.process_time()
        truth = known_path(hop, hop.teacher, folder / f"{name}-teacher.json")
        truth_cpu, start = time.process_time() - start, time.process_time()
        alone = known_path(hop, hop.student, folder / f"{name}-student.json")
        # what a user of the foundation would pay for certainty: its ends and saddle, labelled
        judge = Counted(hop.teacher)
        at = [judge.get_potential_energy(to_atoms(alone[k])) for k in ("end", "saddle")]
        alone_cpu, start = time.process_time() - start, time.process_time()
        doc = tuned_path(hop, folder, f"path-{name}-{seed}{_tag(stage)}", options, seed, stage)
        forward = doc.forward
        report.add(
            what="path",
            case=name,
            calls=stage.get("calls", False),
            atoms=len(hop.ends()[0]),
            seed=seed,
            true_barrier=truth["barrier"],
            true_calls=truth["calls"],
            true_converged=truth["converged"],
            foundation_barrier=alone["barrier"],
            foundation_error=alone["barrier"] - truth["barrier"],
            foundation_labelled_error=at[1] - at[0] - truth["barrier"],
            predicted=forward.predicted,
            std=forward.std,
            interval_95=forward.interval,
            predicted_error=forward.predicted - truth["barrier"],
            labelled=forward.labelled,
            labelled_error=None
            if forward.labelled is None
            else forward.labelled - truth["barrier"],
            saddle_force=doc.saddle_force,
            state=doc.state,
            labels=doc.n_labels,
            waits=doc.n_waits,
            ratio=doc.n_labels / truth["calls"],
            threshold=hop.threshold,
            within_interval=abs(forward.predicted - truth["barrier"]) <= forward.interval,
            within_threshold=abs(forward.predicted - truth["barrier"]) <= hop.threshold,
            cpu_truth=truth_cpu,
            cpu_foundation=alone_cpu,
            cpu_onfly=time.process_time() - start,
        )


def shaken(name: str, seed: int) -> Atoms:
    """Return a cell with displaced atoms, strained by up to 3 %."""
    atoms = CELLS[name]()
    rng = np.random.default_rng(seed)
    strain = np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))
    atoms.set_cell(atoms.cell.array @ (0.5 * (strain + strain.T)), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=True)


def plain_relaxation(atoms: Atoms, source: str) -> tuple[Atoms, int]:
    """Return the relaxed atoms on a calculator, and the calls."""
    atoms = atoms.copy()
    atoms.calc = Counted(source)
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=RELAX_FMAX, steps=300)
    return atoms, atoms.calc.n


def relaxations(
    report: Report,
    names: list[str],
    n: int,
    folder: Path,
    options: dict,
    seed: int,
    quick: bool,
    stage: dict,
) -> None:
    """Measure relaxations of atoms and cell, `n` of each crystal."""
    student, teacher = ("toy", "ase.calculators.emt.EMT") if quick else (CHGNET, R2SCAN)
    for name in names:
        for k in range(n):
            atoms = shaken(name, seed + k)
            best, calls = plain_relaxation(atoms, teacher)
            energy = best.get_potential_energy()
            alone, _ = plain_relaxation(atoms, student)
            judge = Counted(teacher)
            above = judge.get_potential_energy(alone) - energy
            stress = voigt_6_to_full_3x3_stress(judge.get_stress(alone))
            force = largest_force(judge.get_forces(alone), stress, alone.get_volume())
            start = time.process_time()
            spec = RunSpec.from_flat(
                {
                    "foundation_model": student,
                    "threshold": 0.5 if quick else 0.02,
                    "stages": [
                        {
                            "driver": "relax",
                            "n_steps": 200,
                            "fmax": RELAX_FMAX,
                            "cell": True,
                            **stage,
                        }
                    ],
                    "seed": seed,
                    **options,
                }
            )
            session = Session(OnflySettings(ARTIFACT_DIR=folder))
            structure = to_structure(atoms)
            state = new_run(spec, structure, run_id=f"relax-{name}-{seed + k}{_tag(stage)}")
            state = run_loop(
                state, [structure], Teacher(teacher).maker(), session=session, n_workers=1
            )
            doc = relaxation_document(session, state)
            got = doc.relaxed[0]
            report.add(
                what="relaxation",
                case=name,
                calls=stage.get("calls", False),
                atoms=len(atoms),
                seed=seed + k,
                true_calls=calls,
                foundation_above=above,
                foundation_force=force,
                labelled_above=None if got.energy is None else got.energy - energy,
                predicted_error=None if got.energy is None else got.predicted_energy - got.energy,
                predicted_std=got.predicted_std,
                force=got.largest_force,
                volume=got.structure.volume / best.get_volume() - 1,
                foundation_volume=alone.get_volume() / best.get_volume() - 1,
                state=doc.state,
                labels=doc.n_labels,
                waits=doc.n_waits,
                ratio=doc.n_labels / calls,
                cpu_onfly=time.process_time() - start,
            )


def _tag(stage: dict) -> str:
    return "" if stage.get("calls") else "-decided"


def main() -> None:
    """Run the benchmark."""
    parser: argparse.ArgumentParser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["paths", "relaxations"], help="one of the two parts")
    parser.add_argument("--cases", nargs="+", help="names of paths, or of crystals")
    parser.add_argument("--n", type=int, default=5, help="relaxations of each crystal")
    parser.add_argument("--folder", type=Path, help="where runs are kept, so that they go on")
    parser.add_argument("--calls", action="store_true", help="labels on the way as well")
    parser.add_argument("--fit", help="settings of the posterior that differ, as JSON")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    if given.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options: dict[str, Any] = {}
    if given.fit:
        options = {"posterior": {"kind": "last_layer", **json.loads(given.fit)}}
    if given.quick:
        options = {"posterior": {"kind": "last_layer", "n_steps": 40}}
    stage: dict[str, Any] = {"calls": True} if given.calls else {}
    report = Report("barriers", {"quick": given.quick, "seed": given.seed, **options, **stage})
    with tempfile.TemporaryDirectory(prefix="onfly-barriers-") as temporary, one_thread():
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if given.only != "relaxations":
            names = ["toy"] if given.quick else given.cases or ["mgo-mg", "nacl-na"]
            paths(report, names, folder, options, given.seed, stage)
            if given.json:
                report.write(given.json)
        if given.only != "paths":
            names = ["toy"] if given.quick else given.cases or ["mgo", "nacl", "si", "cao"]
            n = 1 if given.quick else given.n
            relaxations(report, names, n, folder, options, given.seed, given.quick, stage)
    report.finish(given.json)


if __name__ == "__main__":
    main()
