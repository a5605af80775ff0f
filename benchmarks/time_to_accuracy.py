"""CPU and labels from nothing to a proven coverage, for one posterior and for the paper's.

    python benchmarks/time_to_accuracy.py --foundation MACE_SPICE.model \
        --posterior '{"kind": "last_layer", "n_members": 2, "n_steps": 200}' --posterior paper

Ethanol at 300 K, labelled by GFN2-xTB. After `--quiet` MD steps without a call a run goes to its
proof; it is at its goal when a closing block proves `--coverage` at a confidence of 95 %.

Each posterior has a run of its own under ``--folder``, whose state is on disk after every MD
checkpoint, label and update: a run that was interrupted goes on when the script is started again,
and ``--report-only`` shows how far the runs are. The baseline is the run with the paper's settings
(8 chains of 2000 steps, batch 5) as far as it went; a ratio is only given if both are at the goal.
The floor is the CPU of the labels alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.units
import torch
from ase.build import molecule
from common import Report, arguments

from onfly.analysis.metrics import binomial_interval
from onfly.bayes.sghmc_posterior import SGHMCPosterior
from onfly.jobs.resident import run_loop
from onfly.labels.presets import label_maker
from onfly.rounds.new import new_run
from onfly.rounds.verdict import judge_run
from onfly.schemas import to_structure
from onfly.session import Session
from onfly.settings import get_settings
from onfly.spec import RunSpec
from onfly.units import EV_PER_KCAL_MOL


def posterior(text: str) -> dict:
    """Read a posterior: "paper", "default" or JSON."""
    if text == "paper":
        return SGHMCPosterior.paper().to_dict()
    return {"kind": "last_layer"} if text == "default" else json.loads(text)


def run_name(args, settings: dict) -> str:
    """Return the identifier under which a run is taken up again."""
    content = [settings, args.foundation, args.threshold, args.labeller, args.seed]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return f"ethanol-{settings['kind']}-{digest}"


def advance(args, settings: dict) -> None:
    """Run until the goal, or go on with a run that was interrupted."""
    stage = {
        "n_steps": args.max_steps,
        "temperature": 300.0,
        "time_step": 0.5,
        "ase_md_kwargs": {"friction": 0.01 / ase.units.fs},
    }
    spec = RunSpec.from_flat(
        {
            "foundation_model": args.foundation,
            "threshold": f"{args.threshold} kcal/mol",
            "stages": [stage],
            "posterior": settings,
            "strategy": "auto",
            "audit_interval": args.audit_interval,
            "stopping": {"quiet_steps": args.quiet},
            "proof": {"coverage": args.coverage, "steps": args.proof_steps},
            "checkpoint_interval": 20,
            "n_workers": args.workers,
            "seed": args.seed,
        }
    )
    structure = to_structure(molecule("CH3CH2OH"))
    state = new_run(spec, structure, run_id=run_name(args, settings))
    run_loop(state, [structure], label_maker(args.labeller))


def row(args, settings: dict) -> dict | None:
    """Return how far a run is; None if it has not begun."""
    session = Session(get_settings())
    workspace = session.workspace(run_name(args, settings))
    if not workspace.exists():
        return None
    run = workspace.read_state()
    ledger = session.open(run.posterior).ledger()
    audits = [e for e in ledger.entries if e.reason in ("audit", "closing") and e.errors]
    within = sum(entry.within() for entry in audits)
    low, high = binomial_interval(within, len(audits)) if audits else (None, None)
    square = sum((entry.error or 0.0) ** 2 for entry in audits) / max(len(audits), 1)
    ensemble = run.posterior.ensemble
    return {
        "posterior": json.dumps({k: settings[k] for k in list(settings)[:4]}),
        "phase": run.phase,
        "at_goal": judge_run(run, ledger).state == "ready",
        "md_steps": run.md_step,
        "labels": run.posterior.n_labels,
        "waits": run.posterior.n_waits,
        "calls": len(ledger.of("uncertain")),
        "updates": 0 if ensemble is None else ensemble.generation,
        "audits": len(audits),
        "within": within,
        "coverage_low": low,
        "coverage_high": high,
        "audit_rmse": square**0.5 / EV_PER_KCAL_MOL if audits else None,
        "cpu_update_s": run.cpu_seconds.get("update", 0.0),
        "cpu_md_s": run.cpu_seconds.get("md", 0.0),
        "floor_s": run.cpu_seconds.get("label", 0.0),
        "cpu_s": sum(run.cpu_seconds.values()),
    }


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--foundation", default="chgnet-0.3.0", help="name or model file")
    parser.add_argument(
        "--posterior",
        type=posterior,
        action="append",
        help='JSON, "default" or "paper"; repeatable',
    )
    parser.add_argument("--threshold", type=float, default=1.0, help="K in kcal/mol")
    parser.add_argument("--labeller", default="gfn2-xtb")
    parser.add_argument("--max-steps", type=int, default=20000)
    parser.add_argument("--quiet", type=int, default=500, help="MD steps without a call")
    parser.add_argument("--coverage", type=float, default=0.9, help="to be proven")
    parser.add_argument("--proof-steps", type=int, help="MD steps of a closing block")
    parser.add_argument("--audit-interval", type=int, default=25)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("time-to-accuracy"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen = args.posterior or [posterior("default"), posterior("paper")]
    if args.quick:
        chosen = [{"kind": "sghmc", "n_members": 2, "n_steps": 5}]
        args.max_steps, args.quiet, args.audit_interval = 10, 5, 5
        args.coverage, args.proof_steps = 0.5, 10
    args.folder = args.folder.absolute()
    args.folder.mkdir(parents=True, exist_ok=True)
    os.environ["ONFLY_ARTIFACT_DIR"] = str(args.folder / "artifacts")
    report = Report("time_to_accuracy", {k: str(v) for k, v in vars(args).items()})
    rows = []
    for settings in chosen:
        if not args.report_only:
            advance(args, settings)
        if (found := row(args, settings)) is not None:
            rows.append((settings, found))
    paper = next((r for s, r in rows if s == posterior("paper")), None)
    for _, found in rows:
        both = paper is not None and paper["at_goal"] and found["at_goal"]
        ratio = paper["cpu_s"] / found["cpu_s"] if both else None
        report.add(**found, paper_over_this=ratio)
    report.finish(args.json)


if __name__ == "__main__":
    main()
