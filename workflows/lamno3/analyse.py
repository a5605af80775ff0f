"""LaMnO3: the order parameter over the temperature programme, and the labels along the way.

    python analyse.py RUN_FOLDER --out NAME

Writes NAME.png and NAME.json: labels, temperature, and the Jahn-Teller distortion (spread of the
six Mn-O bonds of an octahedron over their mean) against time. The distortion tells the ordered
phase from the hot one, and whether it comes back after the second jump.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from onfly.analysis.order import bond_length_distortion, difference_of_stages, stage_means
from onfly.analysis.trajectory import read_trajectory
from onfly.report import load_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("lamno3"))
    arguments = parser.parse_args()
    data = load_run(arguments.folder)
    frames = read_trajectory(arguments.folder)
    distortion = bond_length_distortion("Mn", "O")
    thermo = data.trajectories[0].thermo
    values = np.array([distortion(atoms) for atoms in frames])
    times = np.array([atoms.info["time_fs"] for atoms in frames]) / 1000
    stages = np.array([atoms.info["stage"] for atoms in frames])
    temperature = np.interp(times, thermo["time_fs"] / 1000, thermo["temperature"])
    means = stage_means(values, stages, temperature)

    label_times = np.array([label.time_fs for label in data.labels]) / 1000
    label_stages = np.interp(label_times, times, stages).round().astype(int)
    errors = np.array([label.energy_error for label in data.judged])
    summary = {
        "run_id": data.identity.run_id,
        "threshold_ev": data.threshold,
        "n_steps": data.n_steps,
        "n_labels": len(data.labels),
        "labels_by_stage": np.bincount(label_stages, minlength=stages.max() + 1).tolist(),
        "distortion_by_stage": [
            {
                "stage": mean.stage,
                "temperature": mean.temperature,
                "mean": mean.average.mean,
                "standard_error": mean.average.standard_error,
            }
            for mean in means
        ],
        "share_of_errors_beyond_threshold": float((np.abs(errors) > data.threshold).mean()),
        "audits_within": f"{data.n_within} of {len(data.audits)}",
    }
    if len(means) == 3:
        names = ("difference", "standard_error", "p_value")
        for name, pair in (("hot_minus_cold", (0, 1)), ("second_minus_first_cold", (0, 2))):
            values_of = difference_of_stages(means[pair[0]], means[pair[1]])
            summary[name] = dict(zip(names, map(float, values_of), strict=True))

    figure, axes = plt.subplots(3, 1, figsize=(8, 8), sharex=True, layout="constrained")
    axes[0].step(label_times, range(1, len(data.labels) + 1), where="post")
    axes[0].set(ylabel="labels")
    axes[1].plot(thermo["time_fs"] / 1000, thermo["temperature"], lw=0.5)
    axes[1].set(ylabel="temperature (K)")
    axes[2].plot(times, values, lw=0.7)
    for mean in means:
        inside = times[stages == mean.stage]
        axes[2].hlines(mean.average.mean, inside.min(), inside.max(), color="k")
    axes[2].set(ylabel="Mn-O bond distortion", xlabel="time (ps)")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out.with_name(arguments.out.name + ".png"), dpi=150)
    text = json.dumps(summary, indent=1)
    arguments.out.with_name(arguments.out.name + ".json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
