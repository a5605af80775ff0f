"""Equation of state, elastic constants and phonons before and after fine-tuning, with error bars.

    python benchmarks/properties.py --json properties.json --figure properties.png

The student is tuned on the fly against a teacher, another potential; then both, and the untuned
student, are asked for the same properties. Error bars are held against the student's true errors.
A run that was interrupted goes on if the command is given again with the same ``--resume`` folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase.calculators.calculator import Calculator
from common import Report, arguments
from truth_cases import CASES, Case
from truth_runs import Teacher, TeacherCalculator, run_case

from onfly.calculators import build_calculator
from onfly.labels.single_point import build_calculator as ase_calculator
from onfly.properties import compare, force_fields
from onfly.properties.model import asked_properties
from onfly.session import Session
from onfly.settings import OnflySettings
from onfly.spec import RunSpec
from onfly.spec.properties import PropertiesSpec

STRESS_KBAR = 3.0
FORCE = "100 meV/Å"
# what is asked of the model while it is tuned
SETTINGS = ("energy", "all", "all-npt", "cold")
COLD = (50.0, 300.0)  # K, of the first two thirds of a run with the settings ``cold``


def spec_of(case: Case, name: str, n_steps: int, seed: int, max_labels: int) -> RunSpec:
    """Return the settings of a run.

    ``energy``: the tolerance of the case, at constant volume. ``all``: forces and stress as well.
    ``all-npt``: in an NPT ensemble besides. ``cold``: the same, by way of colder stages with an
    audit every 25 steps, since properties are those of the crystal at rest.
    """
    temperatures = [case.stages[0][0]]
    if name == "cold":
        temperatures = [*COLD, *temperatures]
    barostat = {"ensemble": "npt", "pressure": 0.0} if name in ("all-npt", "cold") else {}
    stages = [
        {"n_steps": n_steps // len(temperatures), "temperature": kelvin, **barostat}
        for kelvin in temperatures
    ]
    tolerances: list[dict[str, Any]] = [{"quantity": "energy", "value": case.threshold}]
    if name != "energy":
        tolerances += [
            {"quantity": "force", "value": FORCE},
            {"quantity": "stress", "value": f"{STRESS_KBAR} kbar"},
        ]
    return RunSpec.from_flat(
        {
            "foundation_model": case.student,
            "tolerance": tolerances,
            "stages": stages,
            "audit_interval": 25 if name == "cold" else 100,
            "time_step": case.time_step,
            "seed": seed,
            "stopping": {"max_labels": max_labels},
            "proof": {"attempts": 0},
            **dict(case.extra),
        }
    )


def teacher_calculator(teacher: Teacher) -> Calculator:
    """Return the teacher as a calculator."""
    if teacher.is_calculator:
        return ase_calculator(teacher.source, {})
    return TeacherCalculator(teacher.source)


def measure(
    case: Case,
    spec: RunSpec,
    seed: int,
    folder: Path,
    wanted: PropertiesSpec,
    run_id: str,
    *,
    finish: bool = True,
) -> tuple[list[dict[str, Any]], dict[str, Any], Any]:
    """Tune, measure, and return a row for each number, one for the run, and the document.

    Without `finish` a run that was interrupted is measured as it stands.
    """
    teacher = Teacher(case.teacher)
    start = time.process_time()
    if finish:
        state, workspace = run_case(spec, case.atoms(seed), teacher, folder, run_id)
    else:
        workspace = Session(OnflySettings(ARTIFACT_DIR=folder)).workspace(run_id)
        state = workspace.read_state()
    tuned = time.process_time()
    calculator = build_calculator(state.posterior, workspace.store)
    run = Session(OnflySettings(ARTIFACT_DIR=folder)).open(state.posterior)
    fields = force_fields(
        calculator,
        run.calibrations(),
        n_draws=wanted.draws,
        seed=seed,
        labeller=teacher_calculator(teacher),
    )
    found = compare(fields, case.atoms(seed), asked_properties(wanted), fmax=wanted.fmax)
    rows = [
        {
            "property": prop.kind,
            "name": value.name,
            "unit": value.unit,
            "before": value.foundation,
            "after": value.value,
            "std": value.std,
            "truth": value.labeller,
            "z": value.z,
            "factor": prop.factor,
            "calibrated_by": prop.calibrated_by,
        }
        for prop in found.properties
        for value in prop.values
    ]
    whole = {
        "labels": state.posterior.n_labels,
        "learned": getattr(state.posterior.ensemble, "n_labels", None),
        "steps": state.md_step,
        "stop": state.posterior.stop_reason,
        "problems": [p for prop in found.properties for p in prop.problems],
        "cpu_run_s": tuned - start,
        "cpu_properties_s": time.process_time() - tuned,
    }
    return rows, whole, found


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return how many errors the bars hold, and medians of the errors before and after.

    Values that symmetry fixes have neither error nor bar and are left out, as are energies, whose
    zero belongs to the run.
    """
    kept = [row for row in rows if row["z"] is not None and row["name"] != "E0"]
    z = np.abs([row["z"] for row in kept])

    def relative(name: str) -> float:
        errors = [(row[name] - row["truth"]) / row["truth"] for row in kept if row["truth"]]
        return float(100 * np.median(np.abs(errors)))

    return {
        "n": len(z),
        "within_1": float(np.mean(z <= 1)),
        "within_2": float(np.mean(z <= 2)),
        "median_z": float(np.median(z)),
        "before_percent": relative("before"),
        "after_percent": relative("after"),
    }


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw errors relative to the teacher, before and after, with the error bars."""
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys((row["case"], row["settings"]) for row in rows))
    figure = Figure(figsize=(9, 3.4 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for axes, (case, settings) in zip(panels, groups, strict=True):
        chosen = [
            row for row in rows
            if (row["case"], row["settings"]) == (case, settings)
            and row["name"] != "E0" and row["truth"] and row["after"] is not None
        ]  # fmt: skip
        first = chosen[0]["seed"] if chosen else 0
        chosen = [row for row in chosen if row["seed"] == first]
        x = np.arange(len(chosen))

        def percent(name: str, part: list[dict[str, Any]] = chosen) -> np.ndarray:
            return np.array([100 * (row[name] / row["truth"] - 1) for row in part])

        bars = np.array([100 * (row["std"] or 0.0) / abs(row["truth"]) for row in chosen])
        axes.axhline(0.0, color="#555555", linewidth=1)
        axes.plot(x, percent("before"), "x", color="#c2571a", label="before (foundation)")
        axes.errorbar(
            x, percent("after"), bars, fmt="o", color="#1f6feb", capsize=3, markersize=4,
            label="after, ± error bar",
        )  # fmt: skip
        names = [f"{row['name']}" for row in chosen]
        axes.set_xticks(x, names, rotation=60, ha="right")
        axes.set_yscale("symlog", linthresh=10, linscale=1.5)
        axes.set_yticks([-100, -30, -10, -5, 0, 5, 10, 30, 100])
        axes.set_yticklabels(["-100", "-30", "-10", "-5", "0", "5", "10", "30", "100"])
        axes.set_ylabel("off the teacher (%)")
        axes.margins(y=0.08)
        axes.autoscale_view()
        axes.set_title(f"{case}, settings: {settings}, seed {first}", fontsize=10)
        axes.grid(axis="y", alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--cases", default="nacl,mgo", help="names, comma-separated")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, from --seed on")
    parser.add_argument("--settings", default="all", help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--kinds", default="eos,elastic,phonon", help="properties")
    parser.add_argument("--steps", type=int, default=300, help="MD steps of a run")
    parser.add_argument("--max-labels", type=int, default=40)
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--figure", type=Path, help="write a picture")
    parser.add_argument("--resume", help="folder of the runs; what is there is not done again")
    parser.add_argument(
        "--as-it-is", action="store_true", help="measure interrupted runs, do not go on with them"
    )
    args = parser.parse_args()
    logging.getLogger("onfly").setLevel(logging.ERROR)
    if args.quick:
        args.cases, args.kinds, args.steps = "toy", "eos", 10
        args.draws, args.max_labels = 3, 4
    wanted = PropertiesSpec(kinds=args.kinds.split(","), draws=args.draws)
    report = Report("properties", {"steps": args.steps, "draws": args.draws})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.resume or temporary).absolute()
        for name in args.cases.split(","):
            for settings in args.settings.split(","):
                for seed in range(args.seed, args.seed + args.seeds):
                    case = CASES[name]
                    spec = spec_of(case, settings, args.steps, seed, args.max_labels)
                    identity = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
                    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
                    run_id = f"{name}-{settings}-{seed}-{digest}"
                    rows, whole, found = measure(
                        case, spec, seed, folder, wanted, run_id, finish=not args.as_it_is
                    )
                    key = {"case": name, "settings": settings, "seed": seed}
                    for row in rows:
                        report.add(**key, **row)
                    report.settings[run_id] = whole | summary(rows)
                    print(run_id, report.settings[run_id], flush=True)
                    if args.resume:
                        path = folder / f"{run_id}.properties.json"
                        path.write_text(found.model_dump_json(indent=1))
                    if args.json:
                        report.write(args.json)
    report.settings["all"] = summary(report.rows)
    print(report.settings["all"])
    report.finish(args.json)
    if args.figure:
        draw(report.rows, args.figure)


if __name__ == "__main__":
    main()
