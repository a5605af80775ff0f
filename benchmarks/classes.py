"""Class models, leave-one-out over a family: what a run saves if its neighbours were learned.

    python benchmarks/classes.py --resume runs/ --json classes.json
    python benchmarks/classes.py --compounds NaCl,MgO --resume runs/

A family of rock-salt crystals has a teacher, another foundation. Short MD of each compound on the
student is labelled by the teacher. The compounds are divided into folds; for each fold a class
model is fitted to the labels of all others, and each compound of the fold then runs twice, from the
class model and from the plain foundation, with the same settings and seed. The teacher is evaluated
at every step, so that labels are compared at a coverage that is known. What is in the folder of
``--resume`` is not done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from common import Report, arguments, cpu_timer
from truth import figures, merged, nested, parsed
from truth_runs import Teacher, TeacherCalculator, run_case, true_frames

from onfly.classes.breadth import errors_of
from onfly.classes.examples import Example, predict, rms
from onfly.classes.held_out import folds_of
from onfly.classes.library import ClassLibrary
from onfly.classes.selection import Selection
from onfly.classes.update import example_of, update_class
from onfly.labels.single_point import build_calculator
from onfly.potentials import load_foundation
from onfly.schemas import LabelDoc, from_any_structure, structure_hash, to_structure
from onfly.spec import FoundationSpec, RunSpec
from onfly.spec.classes import ClassFitSpec

# lattice constants, Å
ROCKSALT = {
    "LiF": 4.03, "LiCl": 5.14, "NaF": 4.63, "NaCl": 5.64, "NaBr": 5.97, "KF": 5.34, "KCl": 6.29,
    "MgO": 4.21, "CaO": 4.81,
}  # fmt: skip
METALS = {"Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89, "Al": 4.05}
# crystals of other kinds and, but for single ones, of other elements
UNRELATED = {
    "zincblende": {
        "GaAs": 5.65, "ZnS": 5.41, "InP": 5.87, "AlP": 5.46, "GaP": 5.45, "CdTe": 6.48,
        "ZnSe": 5.67, "BN": 3.62, "SiC": 4.36,
    },
    "cesiumchloride": {"CsBr": 4.29, "CsI": 4.57, "TlBr": 3.98, "NiAl": 2.89, "FeTi": 2.98},
    "fluorite": {"BaF2": 6.20, "CdF2": 5.39, "CeO2": 5.41, "ZrO2": 5.07},
    "rocksalt": {"TiN": 4.24, "ScN": 4.50, "PbS": 5.94, "TiC": 4.33, "AgBr": 5.77},
    "fcc": {"Ni": 3.52, "Pt": 3.92},
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """What is compared.

    Parameters
    ----------
    compounds
        Formula -> lattice constant in Å.
    student, teacher
        Of the runs.
    temperature
        K.
    """

    compounds: dict[str, float]
    student: str
    teacher: str
    temperature: float = 600.0

    def atoms(self, formula: str, seed: int) -> Atoms:
        """Return the displaced cell that runs start from."""
        kind = "rocksalt" if self.compounds is ROCKSALT else "fcc"
        atoms = bulk(formula, kind, a=self.compounds[formula], cubic=True)
        atoms.rattle(0.02, seed=seed)
        return atoms

    def calculator(self, source: str) -> Any:
        """Return student or teacher as an ASE calculator."""
        if source.startswith("ase."):
            return build_calculator(source, {})
        return TeacherCalculator(source)


SALTS = Family(ROCKSALT, "chgnet-0.3.0", "chgnet-r2scan")
TOYS = Family(METALS, "toy", "ase.calculators.emt.EMT", 300.0)


def labelled(family: Family, atoms: Atoms) -> Atoms:
    """Return a configuration with the teacher's results."""
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)
    plain.calc = family.calculator(family.teacher)
    found = {"energy": plain.get_potential_energy(), "forces": plain.get_forces()}
    if plain.pbc.all():
        found["stress"] = plain.get_stress()
    plain.calc = SinglePointCalculator(plain, **found)
    return plain


def md_labels(family: Family, formula: str, args: Any) -> list[Atoms]:
    """Return configurations of MD on the student, labelled by the teacher."""
    path = args.folder / "labels" / f"{formula}-{args.seed}-{args.labels}.extxyz"
    if not path.exists():
        atoms = family.atoms(formula, args.seed + 100)
        atoms.calc = family.calculator(family.student)
        stream = np.random.default_rng(args.seed)
        MaxwellBoltzmannDistribution(atoms, temperature_K=2 * family.temperature, rng=stream)
        dynamics = Langevin(
            atoms, 2.0 * units.fs, temperature_K=family.temperature, friction=0.01, rng=stream
        )
        found = []
        for _ in range(args.labels):
            dynamics.run(args.spacing)
            found.append(labelled(family, atoms))
        write(path, found)
    return read(path)


def unrelated(family: Family, args: Any) -> list[Example]:
    """Return other crystals, two displaced configurations of each, labelled by the teacher."""
    path = args.folder / "labels" / f"unrelated-{args.seed}.extxyz"
    if not path.exists():
        found = []
        for kind, crystals in UNRELATED.items():
            for formula, constant in crystals.items():
                if family is TOYS and formula not in ("Ni", "Pt"):
                    continue
                for k in range(2):
                    atoms = bulk(formula, kind, a=constant)
                    atoms = atoms * (2, 1, 1) if len(atoms) == 1 else atoms
                    stream = np.random.default_rng([args.seed, k, len(found)])
                    strain = 0.01 * stream.normal(size=(3, 3))
                    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
                    atoms.positions += 0.07 * stream.normal(size=atoms.positions.shape)
                    found.append(labelled(family, atoms))
        write(path, found)
    return [example_of(label) for label in documents(read(path), "unrelated")]


def write(path: Path, found: list[Atoms]) -> None:
    """Write configurations whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    ase.io.write(temporary, found, format="extxyz")
    temporary.replace(path)


def read(path: Path) -> list[Atoms]:
    """Read configurations."""
    found = ase.io.read(path, ":", format="extxyz")
    assert isinstance(found, list)
    return found


def documents(found: list[Atoms], run_id: str) -> list[LabelDoc]:
    """Return labelled configurations as labels of a run."""
    labels = []
    for index, atoms in enumerate(found):
        structure = to_structure(atoms)
        stress = None
        if "stress" in atoms.calc.results:
            stress = atoms.get_stress(voigt=False).tolist()
        labels.append(
            from_any_structure(
                LabelDoc,
                structure,
                structure=structure,
                structure_hash=structure_hash(structure),
                energy=atoms.get_potential_energy(),
                forces=atoms.get_forces().tolist(),
                stress=stress,
                run_id=run_id,
                index=index,
                labeller="teacher",
            )
        )
    return labels


def run_spec(family: Family, foundation: str, args: Any, changes: dict[str, Any]) -> RunSpec:
    """Return the settings of a run; only the foundation differs."""
    flat: dict[str, Any] = {
        "foundation_model": foundation,
        "threshold": args.threshold,
        "time_step": 2.0,
        "traj_interval": 1,
        "seed": args.seed,
    }
    flat = merged(flat, changes)
    stage = {"n_steps": 1, "temperature": family.temperature}
    draft = RunSpec.from_flat({**flat, "stages": [stage]})
    n_steps = max(args.steps // draft.trajectories.walkers, 1)
    return RunSpec.from_flat({**flat, "stages": [stage | {"n_steps": n_steps}]})


KEPT = (
    "labels", "labels_before", "calls", "audits", "closing", "updates", "waits", "true", "true_run",
    "true_block", "verdict", "rms_tuned_mev", "rms_foundation_mev", "cpu_md_s", "cpu_update_s",
)  # fmt: skip


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--resume", help="folder; what is there is not done again")
    parser.add_argument("--compounds", help="that run, comma-separated; all are learned")
    parser.add_argument("--labels", type=int, default=12, help="of each compound for the class")
    parser.add_argument("--spacing", type=int, default=20, help="MD steps between them")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--calibrated", type=int, default=3, help="folds that measure a class")
    parser.add_argument("--learning", type=int, default=3, help="compounds that learn in these")
    parser.add_argument("--fit-steps", type=int, default=400)
    parser.add_argument("--replay", type=int, default=60, help="crystals")
    parser.add_argument("--steps", type=int, default=400, help="MD steps of a run")
    parser.add_argument("--threshold", type=float, default=0.02, help="eV, of the cell")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    logging.getLogger("onfly").setLevel(logging.ERROR)
    family = SALTS
    if args.quick:
        family = TOYS
        args.labels, args.spacing, args.fit_steps, args.replay = 4, 5, 40, 6
        args.steps, args.threshold, args.folds, args.calibrated = 40, 0.05, 2, 2
        args.compounds = args.compounds or "Cu"
        args.set = ["posterior.n_steps=20", "proof.attempts=0", *args.set]
    changes: dict[str, Any] = {}
    for key, value in map(parsed, args.set):
        changes = merged(changes, nested(key, value))
    report = Report("classes", {k: str(v) for k, v in vars(args).items()})
    with tempfile.TemporaryDirectory() as temporary:
        args.folder = Path(args.resume or temporary).absolute()
        # a class model is found by the settings of the machine
        os.environ["ONFLY_ARTIFACT_DIR"] = str(args.folder)
        os.environ["ONFLY_STORE_DIR"] = str(args.folder / "store")
        measure(family, args, changes, report)
    report.finish(args.json)


def measure(family: Family, args: Any, changes: dict[str, Any], report: Report) -> None:
    """Fit the classes, run the compounds, and report."""
    labels = {f: documents(md_labels(family, f, args), f"md-{f}") for f in family.compounds}
    others = unrelated(family, args)
    wanted = args.compounds.split(",") if args.compounds else list(family.compounds)
    folds = folds_of(list(labels), args.folds, args.seed)
    classes = ClassLibrary.from_settings()
    fit = ClassFitSpec(
        n_steps=args.fit_steps, replay=args.replay, check=20, folds=args.calibrated,
        fold_compounds=args.learning, seed=args.seed,
    )  # fmt: skip
    sources = {}
    for number, fold in enumerate(folds):
        if not set(fold) & set(wanted):
            continue
        selection = Selection(
            tuple(label for f in labels if f not in fold for label in labels[f]),
            "teacher",
            excluded=tuple(fold),
            # σ_E, which a predicted std contains, follows from the tolerance of the runs
            thresholds=dict.fromkeys(family.compounds, args.threshold),
        )
        update = update_class(
            f"fold{number}",
            selection,
            classes,
            foundation=FoundationSpec(source=family.student),
            spec=fit,
            unrelated=others,
        )
        doc = update.doc
        assert doc.breadth is not None
        report.add(
            what="class", held_out=" ".join(fold), n_labels=doc.n_labels, n_replay=doc.n_replay,
            drift=doc.drift, cpu_fit_s=doc.cpu_seconds["fit"],
            cpu_left_out_s=doc.cpu_seconds.get("left out"), prior_std=doc.prior_std,
            shape=doc.calibration_shape, rate=doc.calibration_rate,
            **{k: v for k, v in doc.breadth.model_dump().items() if v is not None},
        )  # fmt: skip
        for formula in fold:
            sources[formula] = doc.source
            report.add(what="held out", compound=formula, **held_out(family, labels, formula, doc))
        if args.json:
            report.write(args.json)
    for formula in wanted:
        for name, source in (("class", sources[formula]), ("foundation", family.student)):
            report.add(**one_run(family, formula, name, source, args, changes))
            if args.json:
                report.write(args.json)


def held_out(
    family: Family, labels: dict[str, list[LabelDoc]], formula: str, doc: Any
) -> dict[str, float]:
    """Return errors on a compound's labels that the class has not seen."""
    examples = [example_of(label) for label in labels[formula]]
    row = {}
    for name, source in (("foundation", family.student), ("class", doc.source)):
        potential = load_foundation(source)
        found = predict(potential, potential.parameters(), [e.atoms for e in examples])
        energy, forces = errors_of(examples, found)
        row[f"energy_mev_atom_{name}"] = 1000 * rms([energy])
        row[f"force_mev_A_{name}"] = 1000 * rms(forces)
    return row


def one_run(
    family: Family, formula: str, name: str, source: str, args: Any, changes: dict[str, Any]
) -> dict[str, Any]:
    """Do one run, and return its row."""
    spec, teacher = run_spec(family, source, args, changes), Teacher(family.teacher)
    spent: dict[str, float] = {}
    identity = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    with cpu_timer(spent, "cpu_s"):
        state, workspace = run_case(
            spec, family.atoms(formula, args.seed), teacher, args.folder,
            f"{formula}-{name}-{args.seed}-{digest}",
        )  # fmt: skip
        row = figures(state, workspace, true_frames(state, workspace, teacher))
    return {
        "what": "run",
        "compound": formula,
        "from": name,
        **{key: row.get(key) for key in KEPT},
        **spent,
    }


if __name__ == "__main__":
    main()
