"""On-the-fly runs with real DFT labels from codes that pip installs.

    python benchmarks/real_dft.py --system si-gpaw
    python benchmarks/real_dft.py --system ethanol-pyscf --foundation MACE_SPICE.model

A run that was interrupted goes on when the command is given again with the same arguments;
``--report`` shows how far it came without going on. Energies of molecules are in kcal/mol, those of
crystals in meV, both for the whole cell; forces are in eV/Å.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from ase.build import bulk, molecule
from common import Report, arguments
from loop import LoopSettings, label_rows, read_run, summary, timed_run

from onfly.dynamics.stages import MDStage
from onfly.labels.presets import label_maker
from onfly.units import EV_PER_KCAL_MOL

POSTERIOR = {"kind": "last_layer", "n_members": 2, "n_steps": 200}


def silicon(args):
    """Eight atoms of silicon, heated from 300 to 600 K; PBE with plane waves."""
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.03, seed=args.seed)
    return {
        "atoms": atoms,
        "foundation": args.foundation or "chgnet-0.3.0",
        "labeller": label_maker(
            "gpaw-pbe",
            mode={"name": "pw", "ecut": 300},
            kpts=[2, 2, 2],  # Monkhorst-Pack, off Γ: 4 points
            convergence={"energy": 1e-5},
        ),
        "threshold": args.threshold or 30.0,
        "unit": "meV",
        "energy": 1e-3,
        "stages": [MDStage(n_steps=args.steps or 600, temperature=[300.0, 600.0])],
        "time_step": 2.0,
        "audit_interval": args.audit_interval or 30,
    }


def ethanol(args):
    """Ethanol at 300 K; B3LYP/def2-SVP, density fitted (the paper's first experiment)."""
    return {
        "atoms": molecule("CH3CH2OH"),
        "foundation": args.foundation or "chgnet-0.3.0",
        "labeller": label_maker("pyscf-b3lyp"),
        "threshold": args.threshold or 1.0,
        "unit": "kcal/mol",
        "energy": EV_PER_KCAL_MOL,
        "stages": [MDStage(n_steps=args.steps or 800, temperature=300.0)],
        "time_step": 0.5,
        "audit_interval": args.audit_interval or 40,
    }


SYSTEMS = {"si-gpaw": silicon, "ethanol-pyscf": ethanol}


def run_name(args, content):
    """Name the run by what defines it, so that other settings are another run."""
    defining = {k: v for k, v in content.items() if k not in ("atoms", "energy")}
    text = json.dumps([args.posterior, args.seed, defining], sort_keys=True, default=str)
    return f"{args.system}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def main():
    """Run the benchmark."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--system", choices=sorted(SYSTEMS), required=True)
    parser.add_argument("--foundation", help="name or model file")
    parser.add_argument("--steps", type=int, help="MD steps")
    parser.add_argument("--threshold", type=float, help="meV (crystals) or kcal/mol (molecules)")
    parser.add_argument(
        "--posterior", type=json.loads, default=POSTERIOR, help="kind and settings, JSON"
    )
    parser.add_argument("--audit-interval", type=int, help="mean number of steps between audits")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("real-dft-run"))
    parser.add_argument("--run-id", help="go on with, or report, a run of this name")
    parser.add_argument("--report", action="store_true", help="only show how far the run came")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("onfly").setLevel(logging.INFO)
    if args.quick:
        args.posterior = {**args.posterior, "n_members": 2, "n_steps": 10}
        args.steps, args.audit_interval, args.threshold = 2, 2, 1e4
    content = SYSTEMS[args.system](args)
    if args.quick:
        content["extra"] = {"warmup_labels": 0}
    run_id = args.run_id or run_name(args, content)
    settings = LoopSettings(
        run_id=run_id,
        posterior=args.posterior,
        workers=args.workers,
        seed=args.seed,
        **content,
    )
    args.folder.mkdir(parents=True, exist_ok=True)
    wall = None
    if args.report:
        run, labels = read_run(run_id, args.folder)
    else:
        print(f"run {run_id} in {args.folder}", flush=True)
        run, labels, wall = timed_run(settings, args.folder)
    shown = {
        **vars(args),
        "run_id": run_id,
        "foundation": settings.foundation,
        "threshold": f"{settings.threshold:g} {settings.unit}",
        "calculator": settings.labeller.calculator,
        "calculator_kwargs": settings.labeller.calculator_kwargs,
        "stages": [stage.as_dict() for stage in settings.stages],
        "time_step": settings.time_step,
        "audit_interval": settings.audit_interval,
    }
    print(json.dumps(shown, default=str))
    each = Report("real_dft_labels", {})
    for row in label_rows(labels, settings.energy):
        each.add(**row)
    report = Report("real_dft", {k: str(v) for k, v in shown.items()})
    report.add(system=args.system, **summary(run, labels, settings.energy), wall_s=wall)
    report.settings["labels"] = each.rows
    report.finish(args.json)


if __name__ == "__main__":
    main()
