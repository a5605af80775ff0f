"""On-the-fly runs against a teacher, with the true error at every MD step.

    python benchmarks/truth.py --cases nacl,si --seeds 3
    python benchmarks/truth.py --cases ethanol --models DIR --vary initial_labels=[1,4,8,16]

The labeller is another potential, whose energy is cheap: after a run it is evaluated at all steps
that were taken on the model, and what the run claims is held against it. A run that was interrupted
goes on when the command is given again with the same ``--resume`` folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import yaml
from common import Report, arguments
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from truth_cases import CASES, Case, acetylacetone, model_path
from truth_refit import refit_figures
from truth_runs import Frames, Teacher, notes, redone_share, run_case, true_frames

from onfly.artifacts.workspace import RunWorkspace
from onfly.bayes.calibration_prior import fit_gamma_prior
from onfly.proof import Ledger, ProofRule, judge
from onfly.rounds.close import proof_rule
from onfly.schemas import RunState
from onfly.spec import RunSpec

NEVER = 0.999999  # a probability that no call reaches
# the defaults before the loop ran in rounds, as flat keys and groups
FORMER: dict[str, Any] = {
    "walkers": 1,
    "initial_labels": 1,
    "look_ahead_labels": 0,
    "redo_steps": 0,
    "round_length": None,
    "audit_interval": 100,
    "audit_growth": None,
    "audit_thinning": 0.0,
    "audit_update_fraction": 0.5,
    "warmup_labels": 4,
    "warmup_interval": 10,
    "calibration": {"shape": 1.5, "rate": 10.0, "surprise": 0.02},
}
# chains of the paper's settings are four times shorter, and there are half as many: said in the row
PAPER_SHORT = {"kind": "sghmc", "n_members": 4, "n_steps": 500}


def settings(name: str, interval: int) -> dict[str, Any]:
    """Return the flat keys of one of the compared settings."""
    if name == "former":
        return FORMER
    if name == "paper":
        return RunSpec.paper(
            threshold=1.0, stages=[{"n_steps": 1}], posterior=PAPER_SHORT
        ).to_flat()
    if name == "interval":
        # warm-up without end: a label every so many steps, learned before the next
        return {
            "max_probability": NEVER,
            "warmup_labels": 1_000_000,
            "warmup_interval": interval,
            "round_length": interval,
            "audit_interval": 0,
            "initial_labels": 1,
            "look_ahead_labels": 0,
            "redo_steps": 0,
        }
    return {}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat keys with changes; groups are merged."""
    found = dict(base)
    for key, value in changes.items():
        old = found.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        found[key] = {**old, **value} if both else value
    return found


def parsed(text: str) -> tuple[str, Any]:
    """Return key and value of ``key=value``; the value is YAML."""
    key, equals, value = text.partition("=")
    if not equals:
        raise SystemExit(f"{text!r} is not key=value")
    return key.strip(), yaml.safe_load(value)


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return ``{group: {name: value}}`` for ``group.name``, else ``{key: value}``."""
    group, dot, name = key.partition(".")
    return {group: {name: value}} if dot else {key: value}


def spec_of(case: Case, student: str, given: Mapping[str, Any], n_steps: int, seed: int) -> RunSpec:
    """Return the settings of a run."""
    ours = {k: v for k, v in given.items() if k not in ("threshold", "stages", "foundation_model")}
    flat = {
        "foundation_model": student,
        **({} if "tolerance" in ours else {"threshold": case.threshold}),
        "time_step": case.time_step,
        "traj_interval": 1,
        "seed": seed,
    }
    flat = merged(merged(flat, dict(case.extra)), ours)
    draft = RunSpec.from_flat({**flat, "stages": case.programme(n_steps)})
    walkers = draft.trajectories.walkers
    return RunSpec.from_flat({**flat, "stages": case.programme(max(n_steps // walkers, 1))})


def figures(state: RunState, workspace: RunWorkspace, frames: Frames) -> dict[str, Any]:
    """Return what is reported of a run."""
    posterior = state.posterior
    threshold = float(posterior.threshold_ev or np.nan)
    ledger = workspace.read_ledger(posterior.n_records)
    before = frames.exploring
    newest = frames.generation == frames.generation.max()
    calls = np.array([worst for e in ledger.calls if (worst := e.worst()) is not None])
    row: dict[str, Any] = {
        "steps": state.md_step,
        "labels": posterior.n_labels,
        "waits": posterior.n_waits,
        "calls": sum(e.reason in ("uncertain", "guard") for e in ledger.entries),
        "ahead": len(ledger.of("ahead")),
        "warmup": len(ledger.of("warmup")),
        "audits": len(ledger.audits),
        "closing": len(ledger.of("closing")),
        "updates": len(ledger.learnings),
        "labels_ten": _ten_good(ledger),
    }
    row |= _to_proof(ledger, workspace)
    if len(calls):
        shares = {"calls_above": calls > 1, "calls_half": calls > 0.5, "calls_third": calls < 1 / 3}
        row |= {name: float(np.mean(which)) for name, which in shares.items()}
    row["true"] = frames.coverage()
    for name in frames.ratios if len(frames.ratios) > 1 else ():
        row[f"true_{name}"] = frames.coverage(tolerance=name)
    row["true_run"] = frames.coverage(before)
    row["true_last"] = frames.coverage(newest)
    for number, part in enumerate(_thirds(frames, before)):
        row[f"true_third{number + 1}"] = frames.coverage(part)
    row["true_block"] = frames.coverage(frames.block)
    rule = proof_rule(state)
    verdict = judge(
        ledger, rule or ProofRule(), stopped=posterior.stop_reason if posterior.stopped else None
    )
    row["verdict"] = verdict.state
    row["attempt"] = verdict.attempt
    if verdict.state == "ready":
        promised = posterior.spec.proof.coverage
        row["holds"] = (row["true_block"] or 0.0) >= promised
    # what the calibration has to find out: how wide errors are in units of the raw std
    z = np.abs(frames.error / frames.std)
    row["z_rms"], row["z_95"] = float(np.sqrt(np.mean(z**2))), float(np.quantile(z, 0.95))
    row["rank"] = float(spearmanr(frames.std, np.abs(frames.error)).statistic)
    known = np.isfinite(frames.foundation_error)
    row["rms_tuned_mev"] = _rms(frames.error)
    row["rms_block_mev"] = _rms(frames.error[frames.block])
    row["rms_foundation_mev"] = _rms(frames.foundation_error[known])
    row["foundation_true"] = (
        float(np.mean(np.abs(frames.foundation_error[known]) <= threshold))
        if known.any() and np.isfinite(threshold)
        else None
    )
    cpu = state.cpu_seconds
    row["cpu_md_s"], row["cpu_update_s"] = cpu.get("md", 0.0), cpu.get("update", 0.0)
    row["cpu_label_s"] = sum(line.get("label_cpu", 0.0) for line in notes(workspace))
    return row


def _ten_good(ledger: Ledger) -> int | None:
    """Return the labels up to ten good audits in a row, which version 0.1 called ready."""
    in_a_row = 0
    for entry in ledger.of("audit"):
        in_a_row = in_a_row + 1 if entry.within() else 0
        if in_a_row == 10:
            return entry.index + 1
    return None


def _to_proof(ledger: Ledger, workspace: RunWorkspace) -> dict[str, int]:
    """Return labels and, where they were noted, waits before the first closing block."""
    first = next((e.index for e in ledger.of("closing")), ledger.n_labels)
    found = {"labels_before": first}
    for line in notes(workspace):
        if "phase" in line and line["attempt"] is None:
            found["waits_before"] = line["n_waits"]
    return found


def _thirds(frames: Frames, which: np.ndarray) -> list[np.ndarray]:
    """Return the steps of each third of the run, closing blocks left out."""
    last = max(frames.step[which].max(initial=0), 1)
    third = np.minimum(3 * (frames.step - 1) // last, 2)
    return [which & (third == number) for number in range(3)]


def _rms(errors: np.ndarray) -> float | None:
    return float(1000 * np.sqrt(np.mean(errors**2))) if len(errors) else None


class Bench:
    """The runs of one command."""

    def __init__(self, args: Any, report: Report) -> None:
        self.args, self.report = args, report
        self.folder = Path(args.resume).absolute()
        self.labels_of_default: dict[tuple[str, int], int] = {}

    def source(self, name: str) -> str:
        """Return a model's name, or its path."""
        return model_path(name, self.args.models)

    def learned_prior(self, case: Case) -> dict[str, float]:
        """Return the prior that the runs of other cases teach, as ``calibration: library`` does."""
        counts, sums = [], []
        for other in CASES.values():
            if other.student != case.student or other.name == case.name:
                continue
            for path in sorted(self.folder.glob(f"runs/{other.name}-default-*/run.json")):
                found = json.loads(path.read_text())["posterior"]["calibration"]
                counts.append(found["n"])
                sums.append(found["sum_z2"])
        prior = fit_gamma_prior(counts, sums)
        return {"shape": round(prior.shape, 3), "rate": round(prior.rate, 3)}

    def run(self, case: Case, seed: int, name: str, changes: Mapping[str, Any], text: str) -> None:
        """Do one run, and add its row."""
        n_steps = self.args.steps or case.n_steps
        same = self.labels_of_default.get((case.name, seed), 0)
        interval = self.args.interval or (max(n_steps // same, 1) if same else 50)
        given = merged({"proof": {"refit": self.args.refit}}, settings(name, interval))
        if name == "library":
            given = merged(given, {"calibration": self.learned_prior(case)})
        given = merged(given, changes)
        student, teacher = self.source(case.student), Teacher(self.source(case.teacher))
        spec = spec_of(case, student, given, n_steps, seed)
        identity = json.dumps([spec.model_dump(mode="json"), teacher.source], sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        start = time.monotonic()
        state, workspace = run_case(
            spec, case.atoms(seed), teacher, self.folder, f"{case.name}-{name}-{seed}-{digest}"
        )
        frames = true_frames(state, workspace, teacher)
        row = figures(state, workspace, frames)
        row["redone"], row["true_redone"] = redone_share(state, workspace, teacher)
        if self.args.refit and row["verdict"] == "ready":
            row |= refit_figures(state, workspace, teacher)
        if name == "default" and not text:
            self.labels_of_default[case.name, seed] = row.get("labels_before", row["labels"])
        self.report.add(
            case=case.name, seed=seed, settings=name, set=text, **row,
            wall_s=time.monotonic() - start, run=workspace.run_id,
        )  # fmt: skip


COLUMNS = {
    "case": "case", "settings": "settings", "set": "set", "seed": "seed", "labels": "labels",
    "labels_before": "before proof", "waits": "waits", "calls": "calls", "calls_above": ">K",
    "calls_third": "<K/3", "true_run": "true", "true_third3": "last third", "true_last": "newest",
    "true_block": "block", "verdict": "verdict", "holds": "holds", "rms_tuned_mev": "RMS meV",
    "rms_foundation_mev": "untuned", "z_rms": "z", "cpu_md_s": "MD s", "cpu_update_s": "update s",
}  # fmt: skip


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="Truth at every step", show_lines=False)
    for title in COLUMNS.values():
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(key, row.get(key)) for key in COLUMNS))
    Console(width=None if os.isatty(1) else 220).print(table)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        share = key.startswith(("true", "calls", "foundation"))
        return f"{100 * value:.1f} %" if share else f"{value:.3g}"
    return {True: "yes", False: "no"}.get(value, str(value)) if key == "holds" else str(value)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--cases", help="names, comma-separated; default all that can be run")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, from --seed on")
    parser.add_argument(
        "--settings", default="default", help="default,paper,former,interval,library"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--vary", action="append", default=[], metavar="KEY=[…]", help="one run for each value"
    )
    parser.add_argument("--steps", type=int, help="MD steps of all trajectories of a run together")
    parser.add_argument("--interval", type=int, help="of the settings 'interval'")
    parser.add_argument("--models", help="folder with the MACE files of the molecules")
    parser.add_argument("--acac", type=Path, help="acetylacetone configurations (extxyz): one case")
    parser.add_argument(
        "--refit", action="store_true", help="let runs that are ready fit all labels, and compare"
    )
    parser.add_argument("--resume", help="folder of the runs; what is there is not done again")
    args = parser.parse_args()
    logging.getLogger("onfly").setLevel(logging.ERROR)
    cases = dict(CASES)
    if args.acac:
        start = cases["ethanol"]
        cases["acac"] = Case(
            "acac", acetylacetone(args.acac), start.student, start.teacher,
            2 * start.threshold, ((600.0, 1.0),), 1000, 0.5,
        )  # fmt: skip
    names = args.cases.split(",") if args.cases else [
        name for name, case in cases.items() if args.models or not case.needs_models()
    ]  # fmt: skip
    if args.quick:
        names = ["toy"]
        args.set = ["proof.steps=80", "audit_interval=20", *args.set]
    for name in names:
        if name not in cases:
            parser.error(f"unknown case {name!r}: {', '.join(cases)}")
        if cases[name].needs_models() and not args.models:
            parser.error(f"the case {name!r} needs --models, a folder with the MACE files")
    changes: dict[str, Any] = {}
    for key, value in map(parsed, args.set):
        changes = merged(changes, nested(key, value))
    variants: list[tuple[str, dict[str, Any]]] = [("", changes)]
    for key, values in map(parsed, args.vary):
        for value in values:
            variants.append((f"{key}={value}", merged(changes, nested(key, value))))
    if args.vary:
        variants = variants[1:]
    report = Report("truth", {"set": args.set, "settings": args.settings, "steps": args.steps})
    with tempfile.TemporaryDirectory() as temporary:
        args.resume = args.resume or temporary
        bench = Bench(args, report)
        for name in names:
            for seed in range(args.seed, args.seed + args.seeds):
                for setting in args.settings.split(","):
                    for text, changed in variants:
                        bench.run(cases[name], seed, setting, changed, text)
                        if args.json:
                            report.write(args.json)
    show(report.rows)
    if args.json:
        report.write(args.json)


if __name__ == "__main__":
    main()
