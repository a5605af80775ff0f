"""EquiformerV2 checkpoints of fairchem-core 1.x: the model of one, without unpickling it."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onfly.potentials.equiformer_energy import EquiformerEnergy
from onfly.potentials.precision import default_dtype

__all__ = ["import_classes", "read_checkpoint", "read_model"]

MISSING = (
    "EquiformerV2 is not installed: it needs fairchem-core 1.x in an environment of its own "
    '(pip install "onfly[equiformer]", then pip install --no-deps fairchem-core==1.10.0)'
)


@contextmanager
def _scatter() -> Iterator[None]:
    """Offer torch_geometric's `scatter` while fairchem is imported.

    fairchem imports that of torch-scatter, which has no wheels, for functions not used here.
    """
    import torch_geometric.utils

    stand_in = find_spec("torch_scatter") is None
    if stand_in:
        sys.modules["torch_scatter"] = torch_geometric.utils
    try:
        yield
    finally:
        if stand_in:
            del sys.modules["torch_scatter"]


def import_classes() -> tuple[Any, Any]:
    """Import the classes of the backbone and of the head that gives the energy."""
    try:
        with _scatter():
            from fairchem.core.models.equiformer_v2.equiformer_v2 import EquiformerV2Backbone
            from fairchem.core.models.equiformer_v2.heads import EqV2ScalarHead
    except ModuleNotFoundError as error:
        raise ImportError(f"{MISSING}; missing: {error.name}") from error
    return EquiformerV2Backbone, EqV2ScalarHead


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, which may hold tensors and plain values only.

    Raises
    ------
    ValueError
        If it holds anything else, or is not a fairchem checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values, and is not unpickled. If you trust "
            "it, load it yourself with torch.load(..., weights_only=False) and save only its "
            f"entries config, state_dict, ema, normalizers and elementrefs again ({error})"
        ) from error
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= set(checkpoint):
        raise ValueError(f"{path} is not a checkpoint of fairchem: no config and state_dict")
    return checkpoint


def _attributes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the backbone from any of the three forms of a config."""
    model = config["model"]
    if isinstance(model, str):
        model = {**config.get("model_attributes", {}), "name": model}
    model = dict(model)
    name = model.pop("name", None)
    if name == "hydra":
        reduce = {h.get("reduce", "sum") for k, h in model["heads"].items() if k == "energy"}
        if reduce != {"sum"}:
            raise ValueError("expected a head named energy that sums over atoms")
        model = dict(model["backbone"])
        name = model.pop("model", None)
    if name not in ("equiformer_v2", "equiformer_v2_backbone"):
        raise ValueError(f"this is a checkpoint of {name}, not of EquiformerV2")
    if len(model.get("lmax_list", [6])) != 1:
        raise ValueError("EquiformerV2 models of several resolutions are not supported")
    return model


def _our_name(name: str) -> str:
    while name.startswith("module."):
        name = name.removeprefix("module.")
    if name.startswith("energy_block."):
        return f"energy_head.{name}"
    if name.startswith("output_heads.energy."):
        return name.replace("output_heads.energy.", "energy_head.")
    return name if name.startswith(("backbone.", "output_heads.")) else f"backbone.{name}"


def _scale(checkpoint: Mapping[str, Any]) -> float:
    normalizers = checkpoint.get("normalizers") or {}
    state = normalizers.get("energy", normalizers.get("target", {}))
    return float(state.get("rmsd", state.get("std", 1.0)))


def _reference(
    checkpoint: Mapping[str, Any], backbone: Any, weights: Mapping[str, Tensor]
) -> Tensor:
    """Sum up both kinds of references, without the mean, which is a constant of no consequence."""
    total = torch.zeros(backbone.max_num_elements, dtype=torch.float64)
    linear = (checkpoint.get("elementrefs") or {}).get("energy")
    if linear is not None:
        total += linear["element_references"].double()[: len(total)]
    if backbone.use_energy_lin_ref:
        total += weights["backbone.energy_lin_ref"].double() * _scale(checkpoint)
    return total


def read_model(checkpoint: Mapping[str, Any]) -> EquiformerEnergy:
    """Build the model of a checkpoint, in double precision.

    Its weights are the moving averages if the checkpoint has them, as in fairchem's predictions.

    Raises
    ------
    ImportError
        If fairchem-core 1.x is not installed.
    ValueError
        If the model is of another kind, or weights are missing or of another shape.
    """
    attributes = _attributes(checkpoint["config"])
    backbone_class, head_class = import_classes()
    unknown = sorted(set(attributes) - set(inspect.signature(backbone_class).parameters))
    if unknown:
        raise ValueError(f"the checkpoint's model has unknown settings: {', '.join(unknown)}")
    weights = {_our_name(key): tensor for key, tensor in checkpoint["state_dict"].items()}
    with default_dtype(torch.float64):  # its tables are more exact than those of a checkpoint
        backbone = backbone_class(**attributes)
        reference = _reference(checkpoint, backbone, weights)
        head = head_class(backbone)
        model = EquiformerEnergy(backbone, head, _scale(checkpoint), reference).double()
    named = dict(model.named_parameters())
    weights = {key: tensor for key, tensor in weights.items() if key in named}
    # The averages have no names. Those of the force head, if there is one, come last.
    averages = (checkpoint.get("ema") or {}).get("shadow_params", [])
    learned = [key for key in weights if named[key].requires_grad]
    if averages:
        weights.update(zip(learned, averages, strict=False))
    wrong = [k for k, p in named.items() if k not in weights or weights[k].shape != p.shape]
    if wrong or 0 < len(averages) < len(learned):
        raise ValueError(f"the checkpoint lacks weights, or has others: {', '.join(wrong[:5])}")
    model.load_state_dict(weights, strict=False)
    return model.eval().requires_grad_(False)
