"""Ethanol: the hydroxyl rotor, and where the labels were asked for.

    python analyse.py RUN_FOLDER --out NAME

Writes NAME.png and NAME.json. The paper's claim: configurations near the transition states of the
rotor (dihedral H-O-C-C) are labelled more often than they are visited.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from onfly.analysis.events import label_frequency
from onfly.analysis.trajectory import read_trajectory
from onfly.analysis.transitions import dihedral, find_transitions
from onfly.report import load_run
from onfly.units import EV_PER_KCAL_MOL

# cores of the wells (degrees); between them lie the transition states
CORES = {"gauche+": (40.0, 80.0), "trans": (150.0, 210.0), "gauche-": (280.0, 320.0)}
BINS = np.arange(0, 361, 15)


def hydroxyl_dihedral(atoms):
    """Return the function that gives the dihedral H-O-C-C in degrees."""
    symbols = np.array(atoms.get_chemical_symbols())
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    oxygen = int(np.flatnonzero(symbols == "O")[0])
    carbon = np.flatnonzero(symbols == "C")
    near, far = carbon[np.argsort(distances[oxygen, carbon])]
    hydrogens = np.flatnonzero(symbols == "H")
    hydrogen = hydrogens[np.argmin(distances[oxygen, hydrogens])]
    return dihedral(int(hydrogen), oxygen, int(near), int(far))


def barrier(angles):
    """Whether a dihedral lies outside all wells."""
    angles = np.asarray(angles)
    wells = [(angles >= low) & (angles <= high) for low, high in CORES.values()]
    return ~np.any(wells, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("ethanol"))
    arguments = parser.parse_args()
    data = load_run(arguments.folder)
    frames = read_trajectory(arguments.folder)
    angle = hydroxyl_dihedral(frames[0])
    angles = np.array([angle(atoms) for atoms in frames])
    steps = np.array([atoms.info["step"] for atoms in frames])
    # audits are at random steps: they are where the trajectory is, by construction
    asked = [label for label in data.labels if label.reason in ("uncertain", "guard")]
    asked_angles = np.array([angle(label.structure) for label in asked])

    transitions = find_transitions(angles, CORES, period=360.0)
    half_window = round(15.0 / 2 / float(data.trajectories[0].thermo["time_fs"][0]))
    frequency = label_frequency(
        [label.step for label in asked if label.step < data.n_steps],
        [int(steps[t.frame]) for t in transitions if steps[t.frame] < data.n_steps],
        data.n_steps,
        half_window,
    )
    errors = np.array([label.energy_error for label in data.judged])
    share = float(barrier(angles).mean())
    summary = {
        "run_id": data.identity.run_id,
        "threshold_kcal_mol": data.threshold / EV_PER_KCAL_MOL,
        "n_steps": data.n_steps,
        "n_labels": len(data.labels),
        "n_asked": len(asked),
        "n_transitions": len(transitions),
        "share_of_frames_outside_wells": share,
        "share_of_asked_labels_outside_wells": float(barrier(asked_angles).mean())
        if len(asked)
        else None,
        "label_frequency_ratio_at_transitions": frequency.ratio,
        "p_value": frequency.p_value,
        "share_of_errors_beyond_threshold": float((np.abs(errors) > data.threshold).mean()),
        "audits_within": f"{data.n_within} of {len(data.audits)}",
    }

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.hist(angles, BINS, density=True, alpha=0.5, label=f"MD ({len(angles)} frames)")
    if len(asked):
        left.hist(
            asked_angles, BINS, density=True, histtype="step", lw=2, label=f"labels ({len(asked)})"
        )
    for low, high in CORES.values():
        left.axvspan(low, high, color="0.9", zorder=-1)
    left.set(xlabel="dihedral H-O-C-C (degrees)", ylabel="density", xlim=(0, 360))
    left.legend()
    right.step([label.step for label in data.labels], range(1, len(data.labels) + 1), where="post")
    right.set(xlabel="MD step", ylabel="labels", xlim=(0, data.n_steps))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out.with_name(arguments.out.name + ".png"), dpi=150)
    text = json.dumps(summary, indent=1)
    arguments.out.with_name(arguments.out.name + ".json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
