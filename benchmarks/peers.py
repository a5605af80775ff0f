"""The method beside its peers: the same system, student and labeller, labels chosen in other ways.

    python benchmarks/peers.py --cases nacl --steps 400 --resume runs/ --json peers.json
    python benchmarks/peers.py --cases ethanol --models DIR --settings default,committee,drawn

The labeller is a teacher, so that the truth is known at every step (see `truth.py`). Settings:

- ``teacher``, ``untuned``: no model, and the student as it is: floor and ceiling of the figures.
- ``default``: onfly's, with its proof.
- ``paper``: SGHMC as published, with ``--paper-chains M N``, M chains of N steps, which are
  shorter than the paper's 8 of 2000; the CPU of these is extrapolated from that of a step.
- ``committee``: four networks with starts and minibatches of their own, a label where the largest
  force std exceeds ``--force-std``; each label is learned before the MD goes on.
- ``interval``: a label at a fixed interval, as many as the default took before its proof.
- ``drawn``: as many, drawn beforehand from MD on the untuned student and fitted once, with as many
  steps of the fit as all updates of the default together.
- ``mace``: the labels of ``drawn``, fitted by `mace_run_train` (MACE students only).

What a run has cost is followed by what its last model is worth: RMSE of forces on MD of the
teacher, true coverage and structure in MD of its own. CPU of the fit is that of its steps; of the
loop, that of all the run's process, also of the Gaussian's rows. Nothing that is in the folder
``--resume`` is done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from common import Report, arguments
from peers_check import ModelCalculator, Shifted, check
from peers_committee import installed
from rich.console import Console
from rich.table import Table
from truth import NEVER, figures, merged, settings, spec_of
from truth_cases import CASES, Case, model_path
from truth_runs import Teacher, TeacherCalculator, bare, run_case, true_frames

from onfly.artifacts.workspace import RunWorkspace
from onfly.schemas import RunState
from onfly.session import Session
from onfly.settings import OnflySettings
from onfly.spec import RunSpec

SETTINGS = ("teacher", "untuned", "default", "paper", "committee", "interval", "drawn", "mace")
PAPER_CHAIN_STEPS = 8 * 2000  # of an update
# no model asks, audits or is proven
SILENT: dict[str, Any] = {
    "audit_interval": 0,
    "initial_labels": 1,
    "look_ahead_labels": 0,
    "redo_steps": 0,
    "warmup_labels": 0,
    "max_probability": NEVER,
    "proof": {"attempts": 0},
}
KEPT = (
    "steps", "labels", "labels_before", "waits", "calls", "ahead", "warmup", "audits", "closing",
    "updates", "true_run", "true_third3", "true_block", "verdict", "holds", "rms_tuned_mev",
    "cpu_md_s", "cpu_update_s", "cpu_label_s",
)  # fmt: skip


def chain_steps(workspace: RunWorkspace) -> int:
    """Return the steps of all chains of all updates of a run."""
    chains = [chain for record in workspace.trainings() for chain in record["chains"]]
    return sum(chain["step"][-1] + 1 for chain in chains if chain["step"])


def choices(name: str, args: Any, n_steps: int, default: dict[str, Any]) -> dict[str, Any]:
    """Return the flat keys of a way to choose labels.

    Parameters
    ----------
    name
        Of the way.
    n_steps
        MD steps of all trajectories.
    default
        Row of the default: its labels before the proof, its updates and the steps of their fits.
    """
    n_labels = default.get("labels_before") or default.get("labels") or 0
    if name == "paper":
        n_members, n_chain = args.paper_chains
        posterior = {"kind": "sghmc", "n_members": n_members, "n_steps": n_chain}
        flat = RunSpec.paper(threshold=1.0, stages=[{"n_steps": 1}], posterior=posterior).to_flat()
        # beside the kind, where a case may have set some of them
        options = dict(flat["posterior"])
        return {**flat, "posterior": {**options.pop("options", {}), **options}}
    if name == "committee":
        criterion = {"kind": "max_force_std", "value": args.force_std}
        posterior = {"kind": "committee", "jitter": args.jitter}
        return {**SILENT, "criteria": [criterion], "posterior": posterior}
    if name == "interval":
        if not n_labels:
            raise SystemExit("the setting 'interval' takes as many labels as 'default': run both")
        interval = max(n_steps // max(n_labels - 1, 1), 1)
        return merged(settings("interval", interval), {"proof": {"attempts": 0}})
    if name == "drawn":
        if not n_labels:
            raise SystemExit("the setting 'drawn' takes as many labels as 'default': run both")
        return {
            **SILENT,
            "initial_labels": n_labels,
            "initial_steps": max(n_steps // max(n_labels - 1, 1), 1),
            "posterior": {"kind": "last_layer", "n_steps": max(default["chain_steps"], 1)},
        }
    return {}


class Bench:
    """The runs of one command."""

    def __init__(self, args: Any, report: Report) -> None:
        self.args, self.report = args, report
        self.folder = Path(args.resume).absolute()
        self.session = Session(OnflySettings(ARTIFACT_DIR=self.folder))
        self.drawn: tuple[RunState, Case] | None = None

    def source(self, name: str) -> str:
        """Return a model's name, or its path."""
        return model_path(name, self.args.models)

    def compare(self, case: Case, seed: int) -> None:
        """Do the runs of one system and seed, and add their rows."""
        teacher, default = Teacher(self.source(case.teacher)), {}
        for name in self.args.settings:
            start = time.monotonic()
            if name in ("teacher", "untuned"):
                row = self.unlearned(case, seed, teacher, name)
            elif name == "mace":
                if not case.student.endswith(".model"):
                    continue
                row = self.by_mace(case, seed, teacher)
            else:
                row = self.run(case, seed, teacher, name, default)
            if name == "default":
                default = row
            wall = time.monotonic() - start
            self.report.add(case=case.name, seed=seed, settings=name, **row, wall_s=wall)
            if self.args.json:
                self.report.write(self.args.json)

    def kept(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return figures from the folder, or make and keep them."""
        path = self.folder / "checks" / f"{key}.json"
        if path.exists():
            return json.loads(path.read_text())
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
        return found

    def worth(self, case: Case, seed: int, teacher: Teacher, calculator: Any) -> dict[str, Any]:
        """Return what a model is worth."""
        return check(calculator, case, teacher, self.args.fresh, seed, self.folder / "teachers")

    def unlearned(self, case: Case, seed: int, teacher: Teacher, name: str) -> dict[str, Any]:
        """Return the figures of the teacher itself, or of the untuned student."""

        def make() -> dict[str, Any]:
            truth = teacher.calculator()
            if name == "teacher":
                return self.worth(case, seed, teacher, Shifted(truth, 0.0))
            student = TeacherCalculator(self.source(case.student))
            first = bare(case.atoms(seed))
            gap = student.get_potential_energy(first) - truth.get_potential_energy(first)
            return self.worth(case, seed, teacher, Shifted(student, float(gap)))

        return self.kept(f"{case.name}-{name}-{self.args.fresh}-{seed}", make)

    def run(
        self, case: Case, seed: int, teacher: Teacher, name: str, default: dict[str, Any]
    ) -> dict[str, Any]:
        """Do one run, and return its figures and those of its last model."""
        args = self.args
        n_steps = args.steps or case.n_steps
        given = merged(choices(name, args, n_steps, default), args.changes.get(name, {}))
        spec = spec_of(case, self.source(case.student), given, n_steps, seed)
        identity = json.dumps([spec.model_dump(mode="json"), teacher.source], sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        run_id = f"{case.name}-{name}-{seed}-{digest}"
        state, workspace, cpu = self.timed(spec, case, seed, teacher, run_id)
        if name == "drawn":
            self.drawn = state, case
        found = figures(state, workspace, true_frames(state, workspace, teacher))
        row = {key: found[key] for key in KEPT if key in found}
        if not spec.proof.attempts:  # nothing is claimed, so there is no verdict
            row.pop("verdict")
        row["cpu_loop_s"] = cpu
        row["chain_steps"] = chain_steps(workspace)
        if name == "paper":
            per_step = row["cpu_update_s"] / max(row["chain_steps"], 1)
            row["cpu_full_s"] = per_step * PAPER_CHAIN_STEPS * row["updates"]
        worth = self.kept(
            f"{run_id}-{args.fresh}",
            lambda: self.worth(case, seed, teacher, ModelCalculator(self.session, state)),
        )
        return {**row, **worth, "run": run_id}

    def timed(
        self, spec: RunSpec, case: Case, seed: int, teacher: Teacher, run_id: str
    ) -> tuple[RunState, RunWorkspace, float | None]:
        """Do a run; with the CPU seconds of all of it, which are unknown if it was interrupted."""
        path = self.folder / "checks" / f"{run_id}-cpu.json"
        began = RunWorkspace(self.folder, run_id).exists()
        start = time.process_time()
        state, workspace = run_case(spec, case.atoms(seed), teacher, self.folder, run_id)
        if not began:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(time.process_time() - start))
        return state, workspace, json.loads(path.read_text()) if path.exists() else None

    def by_mace(self, case: Case, seed: int, teacher: Teacher) -> dict[str, Any]:
        """Fit the labels of `drawn` by the trainer of the MACE package."""
        from peers_mace import fine_tuned

        if self.drawn is None or self.drawn[1].name != case.name:
            raise SystemExit("the setting 'mace' takes the labels of 'drawn': name it before")
        run = self.session.open(self.drawn[0].posterior)
        labels = run.labels()
        key = f"{case.name}-mace-{self.args.mace_epochs}-{run.doc.run_id}"

        def make() -> dict[str, Any]:
            calculator, seconds = fine_tuned(
                run.potential, labels, self.folder / "mace" / key, self.args.mace_epochs, seed,
                foundation=self.source(case.student), offset=run.offset,
            )  # fmt: skip
            worth = self.worth(case, seed, teacher, calculator)
            return {"labels": len(labels), "waits": 1, "cpu_update_s": seconds, **worth}

        return self.kept(f"{key}-{self.args.fresh}", make)


COLUMNS = {
    "case": "case", "settings": "settings", "seed": "seed", "labels_before": "labels",
    "labels": "with proof", "waits": "waits", "cpu_md_s": "MD s", "cpu_update_s": "fit s",
    "cpu_label_s": "label s", "cpu_loop_s": "loop s", "true_run": "true",
    "fresh_true": "true, own MD", "force_rmse_mev": "forces meV/Å", "fresh_rms_mev": "RMS meV",
    "structure": "structure",
    "verdict": "verdict", "holds": "holds",
}  # fmt: skip


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="Peers", show_lines=False)
    for title in COLUMNS.values():
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(key, row.get(key)) for key in COLUMNS))
    Console(width=None if os.isatty(1) else 200).print(table)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{100 * value:.1f} %" if "true" in key else f"{value:.3g}"
    return str(value)


def parsed() -> Any:
    """Return the arguments."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--cases", default="nacl", help="names of truth.py, comma-separated")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, from --seed on")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="comma-separated")
    parser.add_argument("--steps", type=int, help="MD steps of all trajectories of a run")
    parser.add_argument("--fresh", type=int, default=400, help="MD steps that judge a model")
    parser.add_argument("--models", help="folder with the MACE files of the molecules")
    parser.add_argument("--force-std", type=float, default=0.1, help="of the committee, eV/Å")
    parser.add_argument("--jitter", type=float, default=0.007, help="of the committee's starts")
    parser.add_argument("--paper-chains", type=int, nargs=2, default=(4, 500), metavar=("M", "N"))
    parser.add_argument("--mace-epochs", type=int, default=400)
    parser.add_argument("--resume", help="folder of the runs; what is there is not done again")
    args = parser.parse_args()
    args.settings = args.settings.split(",")
    if unknown := [name for name in args.settings if name not in SETTINGS]:
        parser.error(f"unknown settings {', '.join(unknown)}: {', '.join(SETTINGS)}")
    args.changes = {}
    if args.quick:
        args.cases, args.steps, args.fresh = "toy", args.steps or 40, 40
        args.paper_chains = (2, 20)
        args.changes = {"default": {"proof": {"coverage": 0.8, "steps": 30}}}
    for name in args.cases.split(","):
        if name not in CASES:
            parser.error(f"unknown case {name!r}: {', '.join(CASES)}")
        if CASES[name].needs_models() and not args.models:
            parser.error(f"the case {name!r} needs --models, a folder with the MACE files")
    return args


def main() -> None:
    """Run the benchmark."""
    args = parsed()
    logging.getLogger("onfly").setLevel(logging.ERROR)
    shown = {k: str(v) for k, v in vars(args).items() if k not in ("json", "resume", "changes")}
    report = Report("peers", shown)
    with tempfile.TemporaryDirectory() as temporary, installed():
        args.resume = args.resume or temporary
        bench = Bench(args, report)
        for name in args.cases.split(","):
            for seed in range(args.seed, args.seed + args.seeds):
                bench.compare(CASES[name], seed)
    show(report.rows)
    if args.json:
        report.write(args.json)


if __name__ == "__main__":
    main()
