"""Published models and runs of the toy potential, made in milliseconds without any MD."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pymatgen.core import Lattice, Molecule, Structure

from onfly.artifacts import RunWorkspace
from onfly.artifacts.blobs import ensemble_to_blobs
from onfly.bayes.posterior import PosteriorState, posterior_from_dict
from onfly.labels.store import LabelStore
from onfly.potentials import load_foundation
from onfly.proof import Ledger, LedgerEntry
from onfly.schemas import (
    CalibrationDoc,
    EnsembleDoc,
    FineTunedModelDoc,
    LabelDoc,
    PosteriorDoc,
    RunState,
    from_any_structure,
    structure_hash,
)
from onfly.spec import RunSpec

__all__ = [
    "crystal",
    "random_mace",
    "toy_label",
    "toy_model",
    "toy_run",
    "toy_spec",
    "water",
    "write_toy_run",
]

N_MEMBERS = 3


def crystal(first: str = "Cu", second: str = "Au") -> Structure:
    """Return four atoms of two elements in a distorted fcc cell."""
    sites = np.array([[0, 0, 0], [0.52, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.49]])
    return Structure(Lattice.cubic(3.9), [first, first, second, second], sites)


def water() -> Molecule:
    """Return a water molecule."""
    return Molecule(["O", "H", "H"], [[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]])


def random_mace(
    path: Path,
    dtype: torch.dtype = torch.float64,
    block: str = "RealAgnosticResidualInteractionBlock",
    **options: object,
) -> Path:
    """Write a MACE model of H, C, O, Na and Cl with random weights, made in a second.

    `block` is the kind of its interactions, `options` are further ones of mace's own. A path that
    ends in ``.safetensors`` gets a converted model, any other one a pickle.
    """
    from onfly.potentials.mace_package import import_mace
    from onfly.potentials.precision import default_dtype

    modules = import_mace()
    from e3nn import o3

    torch.manual_seed(0)
    with default_dtype(dtype):
        model = modules.ScaleShiftMACE(
            r_max=4.5,
            num_bessel=6,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=modules.interaction_classes[block],
            interaction_cls_first=modules.interaction_classes[block],
            num_interactions=2,
            num_elements=5,
            hidden_irreps=o3.Irreps("8x0e + 8x1o"),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.array([-1.0, -5.0, -4.0, -2.0, -3.0]),
            avg_num_neighbors=8.0,
            atomic_numbers=[1, 6, 8, 11, 17],
            correlation=3,
            atomic_inter_scale=0.8,
            atomic_inter_shift=0.1,
            radial_MLP=[16, 16],
            **options,
        )
    if path.suffix == ".safetensors":
        from onfly.potentials.mace_conversion import write_converted

        write_converted(model, path, "random.model", "0" * 64)
    else:
        torch.save(model, path)
    return path


def toy_ensemble(
    workspace: RunWorkspace, structure: Structure | Molecule, seed: int, foundation: str = "toy"
) -> EnsembleDoc:
    """Write an ensemble of a small potential, scattered around its pretrained weights."""
    potential = load_foundation(foundation, sorted({str(site.specie) for site in structure}))
    posterior = posterior_from_dict({"kind": "sghmc", "n_members": N_MEMBERS})
    generator = torch.Generator().manual_seed(seed)
    members = tuple(
        {
            name: tensor + 0.02 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            for name, tensor in member.items()
        }
        for member in posterior.initial(potential, ("toy", seed)).members
    )
    settings = {k: v for k, v in posterior.to_dict().items() if k != "kind"}
    return workspace.save_ensemble(
        PosteriorState("sghmc", members), generation=3, n_labels=5, settings=settings
    )


def toy_model(
    root: str | Path,
    model_id: str = "m1",
    structure: Structure | Molecule | None = None,
    seed: int = 0,
    foundation: str = "toy",
    **fields: Any,
) -> FineTunedModelDoc:
    """Return a published model; its weights are in the document and in files under ``root``."""
    structure = structure or crystal()
    workspace = RunWorkspace(root, f"run-{model_id}")
    ensemble = toy_ensemble(workspace, structure, seed, foundation)
    content = {
        "model_id": model_id,
        "run_id": workspace.run_id,
        "state": "ready",
        "stop_reason": "all stages are done",
        "structure": structure,
        "foundation_model": foundation,
        "labeller": "emt",
        "level_of_theory": "PBE",
        "threshold_ev": 0.1,
        "temperature_range": (300.0, 800.0),
        "n_steps": 1000,
        "simulated_time_fs": 2000.0,
        "energy_offset": -2.5,
        "n_labels": 5,
        "n_audits": 20,
        "n_audits_within": 19,
        "coverage": 0.95,
        "calibration": CalibrationDoc(shape=1.5, rate=10.0, n=6, sum_z2=9.0),
        "ensemble": ensemble,
        "weights": ensemble_to_blobs(workspace.store, ensemble),
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return from_any_structure(FineTunedModelDoc, structure, **content | fields)


def toy_run(
    run_id: str = "run-1", structure: Structure | Molecule | None = None, **fields: Any
) -> RunState:
    """Return the state of a run that has not begun; ``fields`` are those of its posterior."""
    content = {
        "run_id": run_id,
        "spec": toy_spec(),
        "threshold_ev": 0.1,
        "calibration": CalibrationDoc(shape=1.5, rate=10.0),
    }
    posterior = from_any_structure(PosteriorDoc, structure or crystal(), **content | fields)
    return RunState(posterior=posterior)


def toy_spec(**settings: Any) -> RunSpec:
    """Return the settings of a run that takes seconds: toy potential, EMT, short chains.

    ``settings`` are flat keys or groups, which replace these.
    """
    content: dict[str, Any] = {
        "foundation_model": "toy",
        "threshold": 0.1,
        "labeller": "emt",
        "stages": [{"n_steps": 40, "temperature": 300.0, "time_step": 2.0}],
        "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 30},
        "audit_interval": 10,
        "audit_growth": None,
        "look_ahead_labels": 0,
        "n_workers": 1,
        "proof": {"steps": 40},
    }
    if "tolerance" in settings:
        del content["threshold"]
    return RunSpec.from_flat(content | settings)


def toy_label(
    index: int = 0,
    run_id: str = "run-1",
    structure: Structure | Molecule | None = None,
    **fields: Any,
) -> LabelDoc:
    """Return a label with numbers that depend on its index."""
    structure = structure or crystal()
    generator = torch.Generator().manual_seed(index)
    content = {
        "structure": structure,
        "structure_hash": structure_hash(structure),
        "energy": -10.0 - index,
        "forces": torch.randn(len(structure), 3, generator=generator).tolist(),
        "run_id": run_id,
        "index": index,
        "reason": "uncertain",
        "labeller": "emt",
    }
    return from_any_structure(LabelDoc, structure, **content | fields)


def write_toy_run(root: str | Path, state: RunState, labels: Sequence[LabelDoc] = ()) -> RunState:
    """Write a run whose ledger has these labels, all of them, and return its state."""
    store = LabelStore(Path(root) / "labels")
    workspace = RunWorkspace(root, state.run_id)
    ledger = Ledger()
    for index, label in enumerate(labels):
        ledger = ledger.append(
            LedgerEntry(
                index=index,
                trajectory=0,
                step=label.md_step or 0,
                reason=label.reason or "uncertain",
                mean=label.predicted_energy,
                std=label.predicted_std,
                label=store.put(label),
                error=label.error,
            )
        )
    state = state.evolve(n_records=workspace.write_ledger(ledger), n_labels=ledger.n_labels)
    workspace.write_state(state)
    return state
