"""CPU and labels from nothing to an audited coverage, for one posterior and for the paper's.

    python benchmarks/time_to_accuracy.py --foundation MACE_SPICE.model \
        --posterior '{"kind": "last_layer", "n_members": 2, "n_steps": 200}' --posterior paper

Ethanol at 300 K, labelled by GFN2-xTB. A run is at its goal when no label was asked for in the last
`--quiet` MD steps and the audits since the last change of the weights, at least `--audits`, are
within the threshold to 95 %. Audits come at random steps and are not chosen by the ensemble.

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
from onfly.dynamics.stopping import StoppingRule
from onfly.jobs.context import to_structure
from onfly.jobs.initial import DEFAULT_POSTERIOR, InitialEnsembleMaker
from onfly.jobs.segment import SegmentMaker

from onfly.analysis.metrics import binomial_interval
from onfly.artifacts.workspace import RunWorkspace
from onfly.bayes.sghmc_posterior import SGHMCPosterior
from onfly.flows import OnTheFlyMaker
from onfly.jobs.update import UpdateMaker
from onfly.labels.presets import label_maker
from onfly.units import EV_PER_KCAL_MOL


def posterior(text: str) -> dict:
    """Read a posterior: "paper", "default" or JSON."""
    if text == "paper":
        return SGHMCPosterior.paper().to_dict()
    return dict(DEFAULT_POSTERIOR) if text == "default" else json.loads(text)


def run_name(args, settings: dict) -> str:
    """Return the identifier under which a run is taken up again."""
    content = [settings, args.foundation, args.threshold, args.labeller, args.seed]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return f"ethanol-{settings['kind']}-{digest}"


def advance(args, settings: dict) -> None:
    """Run until the goal, or go on with a run that was interrupted."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    maker = OnTheFlyMaker(
        foundation_model=args.foundation,
        threshold=args.threshold,
        threshold_unit="kcal/mol",
        label_maker=label_maker(args.labeller),
        mode="resident",
        seed=args.seed,
        initial_maker=InitialEnsembleMaker(posterior=settings, strategy="auto"),
        segment_maker=SegmentMaker(
            n_steps=args.max_steps,
            temperature=300.0,
            time_step=0.5,
            ase_md_kwargs={"friction": 0.01 / ase.units.fs},
            audit_interval=args.audit_interval,
            stopping=StoppingRule(quiet_steps=args.quiet, min_audits=args.audits),
            update_maker=UpdateMaker(n_workers=args.workers),
            checkpoint_interval=20,
        ),
    )
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    flow = maker.make(to_structure(molecule("CH3CH2OH")), run_id=run_name(args, settings))
    run_locally(flow, store=store, create_folders=True, root_dir=args.folder, ensure_success=True)


def row(args, settings: dict) -> dict | None:
    """Return how far a run is; None if it has not begun."""
    workspace = RunWorkspace(args.folder / "artifacts", run_name(args, settings))
    if not workspace.exists():
        return None
    run, labels = workspace.read_run(), workspace.labels()
    audits = [label for label in labels if label.reason == "audit" and label.error is not None]
    within = sum(abs(label.error) <= run.threshold_ev for label in audits)
    low, high = binomial_interval(within, len(audits)) if audits else (None, None)
    square = sum(label.error**2 for label in audits) / max(len(audits), 1)
    return {
        "posterior": json.dumps({k: settings[k] for k in list(settings)[:4]}),
        "phase": run.phase,
        "at_goal": run.phase in ("publish", "done")
        and run.audits_since_update >= args.audits
        and run.audits_within_since_update >= 0.95 * run.audits_since_update,
        "md_steps": run.md_step,
        "labels": len(labels),
        "calls": sum(label.reason == "uncertain" for label in labels),
        "updates": 0 if run.ensemble is None else run.ensemble.generation,
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
    parser.add_argument("--audits", type=int, default=20, help="of the final weights")
    parser.add_argument("--audit-interval", type=int, default=25)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("time-to-accuracy"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen = args.posterior or [posterior("default"), posterior("paper")]
    if args.quick:
        chosen = [{"kind": "sghmc", "n_members": 2, "n_steps": 5}]
        args.max_steps, args.quiet, args.audits, args.audit_interval = 10, 5, 1, 5
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
