"""CaZrS3 + H: labels over time, jumps of hydrogen, and the labels around the jumps.

    python analyse.py RUN_FOLDER [RUN_FOLDER …] [--production FOLDER …] --out NAME

Writes NAME.png and NAME.json. Several runs (K = 5 and 15 kcal/mol) are drawn into one figure, as in
figure 5d of the paper; its other claim is that labels are 56 % more frequent within 15 fs around
a jump (p = 0.0012).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from onfly.analysis.events import average_around, label_frequency
from onfly.analysis.jumps import find_jumps
from onfly.analysis.msd import diffusion_coefficient, unwrap
from onfly.analysis.trajectory import read_trajectory
from onfly.report import load_run
from onfly.schemas.production import ProductionDoc
from onfly.units import EV_PER_KCAL_MOL

WINDOW_FS = 15.0


def of_run(folder: Path, axes) -> dict:
    """Draw a fine-tuning run, and return its figures."""
    data = load_run(folder)
    frames = read_trajectory(folder)
    steps = np.array([atoms.info["step"] for atoms in frames])
    jumps = find_jumps(frames, "H", "S")
    events = [int(steps[jump.frame]) for jump in jumps if steps[jump.frame] < data.n_steps]
    time_step = float(data.trajectories[0].thermo["time_fs"][0])
    half = max(1, round(WINDOW_FS / 2 / time_step))
    asked = [label for label in data.labels if label.reason in ("uncertain", "guard")]
    frequency = label_frequency(
        [label.step for label in asked if label.step < data.n_steps],
        events,
        data.n_steps,
        half,
    )
    errors = np.array([label.energy_error for label in data.judged])
    name = f"K = {data.threshold / EV_PER_KCAL_MOL:.3g} kcal/mol"
    times = np.array([label.time_fs for label in data.labels]) / 1000
    axes[0].step(times, range(1, len(times) + 1), where="post", label=name)
    if events:
        offset, mean, error = average_around(
            data.trajectories[0].thermo["energy_std"], events, 4 * half
        )
        axes[1].errorbar(offset * time_step, 1000 * mean, 1000 * error, label=name, lw=1)
    return {
        "run_id": data.identity.run_id,
        "threshold_kcal_mol": data.threshold / EV_PER_KCAL_MOL,
        "n_steps": data.n_steps,
        "n_labels": len(data.labels),
        "n_asked": len(asked),
        "n_jumps": len(jumps),
        "label_frequency_ratio_at_jumps": frequency.ratio,
        "p_value": frequency.p_value,
        "share_of_errors_beyond_threshold": float((np.abs(errors) > data.threshold).mean()),
        "audits_within": f"{data.n_within} of {len(data.audits)}",
    }


def of_production(folders: list[Path]) -> dict:
    """Return jumps and diffusion of the production runs."""
    runs, rates, uncertain, interval = [], [], 0, 0.0
    for folder in folders:
        doc = ProductionDoc.model_validate_json((folder / "production.json").read_text())
        frames = read_trajectory(folder, doc.n_equilibration_steps + 1)
        hydrogen = np.array([s == "H" for s in frames[0].symbols])
        runs.append(unwrap(frames, remove_drift=True)[:, hydrogen])
        interval = float(frames[1].info["time_fs"] - frames[0].info["time_fs"])
        picoseconds = interval * (len(frames) - 1) / 1000
        rates.append(len(find_jumps(frames, "H", "S")) / hydrogen.sum() / picoseconds)
        uncertain += doc.n_uncertain
    result = {
        "n_runs": len(runs),
        "jumps_per_ps_and_h": float(np.mean(rates)),
        "standard_error": float(np.std(rates, ddof=1) / np.sqrt(len(rates)))
        if len(rates) > 1
        else None,
        "uncertain_steps": uncertain,
    }
    if len(runs) > 1:
        diffusion = diffusion_coefficient(runs, time_step=interval, n_blocks=1)
        result["diffusion_cm2_s"] = diffusion.cm2_per_s
        result["diffusion_interval_cm2_s"] = [0.1 * value for value in diffusion.interval]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--production", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("cazrs3-h"))
    arguments = parser.parse_args()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    summary: dict = {"runs": [of_run(folder, axes) for folder in arguments.folders]}
    if arguments.production:
        summary["production"] = of_production(arguments.production)
    axes[0].set(xlabel="time (ps)", ylabel="labels")
    axes[0].legend()
    axes[1].set(xlabel="time from a jump (fs)", ylabel="std of the energy (meV)")
    if not axes[1].has_data():
        axes[1].text(0.5, 0.5, "no jump", ha="center", transform=axes[1].transAxes)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out.with_name(arguments.out.name + ".png"), dpi=150)
    text = json.dumps(summary, indent=1)
    arguments.out.with_name(arguments.out.name + ".json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
