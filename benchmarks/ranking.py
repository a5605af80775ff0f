"""What ranks the errors of energies along a trajectory: candidates on the closing blocks of runs.

    python benchmarks/truth.py --cases ethanol,glycol,si --models DIR --resume runs/
    python benchmarks/ranking.py --resume runs/ --models DIR --json ranking.json

The steps of a closing block are taken on one set of weights, and the truth is known at each. Every
candidate is a number for each step that ought to be large where the error is. Columns: Spearman's
rank correlation with the error of the energy and with the RMS error of the forces, the mean error
in the upper half of the candidate over that in the lower, and the spread of its logarithm (a
candidate that hardly varies cannot rank). A constant has 0, 0, 1 and 0.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase import Atoms
from common import Report, arguments
from scipy.stats import spearmanr
from truth_cases import CASES, model_path
from truth_runs import Teacher, bare, block_frames

from onfly.artifacts.workspace import RunWorkspace
from onfly.bayes import LastLayerPosterior, PosteriorState
from onfly.potentials.execution import one_thread
from onfly.schemas import to_atoms
from onfly.session import OpenRun, Session
from onfly.settings import OnflySettings

BATCH = 16
FIT_STEPS, QUICK_STEPS = 100, 10  # of the fits without a part of the labels
PARTS = 4


class Weights:
    """One set of weights and what it says of configurations."""

    def __init__(self, run: OpenRun, params: dict[str, torch.Tensor]) -> None:
        self.run, self.params = run, params

    def evaluate(self, frames: list[Atoms]) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
        """Return energies (eV, labels' scale), forces (B, N, 3) and features (B, N, F)."""
        potential, parts = self.run.potential, []
        for begin in range(0, len(frames), BATCH):
            batch = [potential.graph(atoms) for atoms in frames[begin : begin + BATCH]]
            found = potential.evaluate(
                self.params, potential.collate(batch), forces=True, stress=False
            )
            shape = (len(batch), len(frames[0]), -1)
            parts.append(
                (
                    found.energy.detach().double() - self.run.offset,
                    found.forces.detach().double().view(shape),
                    found.features.detach().double().view(shape),
                )
            )
        energies, forces, features = (torch.cat(part) for part in zip(*parts, strict=True))
        return energies.numpy(), forces.numpy(), features


def distances(features: torch.Tensor, known: torch.Tensor, numbers: np.ndarray) -> np.ndarray:
    """Return each atom's distance in features to the labelled atoms of its species, (B, N)."""
    found = np.zeros(features.shape[:2])
    for kind in set(numbers):
        at = numbers == kind
        reference = known[:, at].reshape(-1, known.shape[-1])
        own = features[:, at].reshape(-1, features.shape[-1])
        scale = float(reference.std(0).mean()) or 1.0
        nearest = torch.cdist(own / scale, reference / scale).min(1).values
        found[:, at] = nearest.view(len(features), -1).numpy()
    return found


def without_parts(
    run: OpenRun, state: PosteriorState, labels: list, frames: list[Atoms], n_steps: int
) -> np.ndarray:
    """Return the spread of fits that each leave out a quarter of the labels, eV, shape (B,)."""
    posterior = replace(run.posterior, n_steps=n_steps, steps_per_new=0)
    energies = []
    for part in range(PARTS):
        kept = [label for index, label in enumerate(labels) if index % PARTS != part]
        fitted, _ = posterior.update(
            state, run.target_factory(kept), seed_key=("ranking", part), generation=1,
            n_new=len(kept),
        )  # fmt: skip
        energies.append(Weights(run, fitted.members[0]).evaluate(frames)[0])
    return np.std(energies, axis=0)


def candidates(
    run: OpenRun, workspace: RunWorkspace, frames: list[Atoms], n_steps: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return the candidates, and energies and forces of the weights at the frames."""
    doc = run.doc.ensemble
    state = workspace.load_ensemble(doc)
    labels = run.labels()[: doc.n_labels]
    known = [bare(to_atoms(label.structure)) for label in labels]
    numbers, tuned = frames[0].numbers, Weights(run, state.members[0])
    untuned = Weights(run, run.potential.parameters())
    energies, forces, features = tuned.evaluate(frames)
    _, _, of_labels = tuned.evaluate(known)
    before, _, plain_features = untuned.evaluate(frames)
    _, _, plain_of_labels = untuned.evaluate(known)
    zeros = torch.zeros(1, len(frames), dtype=torch.float64)
    variance = run.posterior.energy_moments(state, zeros, features.sum(1)[None])[1]
    std = np.sqrt(variance.numpy() + run.scales.energy_std**2)
    atoms = distances(features, of_labels, numbers)
    plain_atoms = distances(plain_features, plain_of_labels, numbers)
    whole = torch.cdist(plain_features.flatten(1), plain_of_labels.flatten(1)).min(1).values
    correction = energies - before
    found = {
        "std (all rows)": std,
        "distance, all atoms": atoms.sum(1),
        "distance, farthest atom": atoms.max(1),
        "distance, foundation's features": plain_atoms.sum(1),
        "distance of the whole": whole.numpy(),
        "correction of the foundation": np.abs(correction - np.median(correction)),
        "std × distance": std * atoms.sum(1),
    }
    if n_steps and len(labels) >= PARTS:
        spread = without_parts(run, state, labels, frames, n_steps)
        found["fits without a quarter"] = spread
        found["std and fits"] = np.hypot(std, spread)
    return found, energies, forces


def judged(score: np.ndarray, error: np.ndarray, force_error: np.ndarray) -> dict[str, float]:
    """Return the figures of a candidate."""
    upper = score >= np.median(score)
    return {
        "rank_energy": float(spearmanr(score, error).statistic),
        "rank_forces": float(spearmanr(score, force_error).statistic),
        "upper_over_lower": float(error[upper].mean() / max(error[~upper].mean(), 1e-12)),
        "spread": float(np.std(np.log(np.maximum(score, 1e-12)))),
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--resume", type=Path, required=True, help="folder of benchmarks/truth.py")
    parser.add_argument("--runs", default="*", help="runs to look at, as a pattern")
    parser.add_argument("--models", type=Path, help="folder with the MACE files of the molecules")
    parser.add_argument("--every", type=int, default=4, help="steps between the frames")
    parser.add_argument("--no-fits", action="store_true", help="leave out the four fits")
    args = parser.parse_args()
    report = Report("ranking", {"every": args.every})
    n_steps = QUICK_STEPS if args.quick else FIT_STEPS
    n_steps = 0 if args.no_fits else n_steps
    session = Session(OnflySettings(ARTIFACT_DIR=args.resume.absolute()))
    for folder in sorted((args.resume / "runs").glob(args.runs)):
        case = next((c for c in CASES.values() if folder.name.startswith(f"{c.name}-d")), None)
        workspace = session.workspace(folder.name)
        state = workspace.read_state()
        last_layer = state.posterior.ensemble and state.posterior.ensemble.posterior == "last_layer"
        if case is None or state.posterior.attempt is None or not last_layer:
            continue
        run = session.open(state.posterior)
        assert isinstance(run.posterior, LastLayerPosterior)
        teacher = Teacher(model_path(case.teacher, args.models))
        steps = block_frames(state, workspace)
        frames = [bare(atoms) for _, atoms in steps if atoms.info["source"] == "model"]
        frames = frames[:: args.every]
        with one_thread():
            found, energies, forces = candidates(run, workspace, frames, n_steps)
            truth, true_forces = teacher.truth(frames, True)
        error = np.abs(energies - truth)
        force_error = np.sqrt(np.mean((forces - true_forces) ** 2, axis=(1, 2)))
        for name, score in found.items():
            report.add(case=case.name, run=folder.name, frames=len(frames), candidate=name,
                       **judged(score, error, force_error))  # fmt: skip
    report.finish(args.json)


if __name__ == "__main__":
    main()
