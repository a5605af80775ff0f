"""The hyper-parameters of a MACE model as plain JSON values, and a model from them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onfly.potentials.mace_package import environment_kept, import_mace
from onfly.potentials.precision import default_dtype

__all__ = ["build_model", "hyperparameters"]

_NUMBERS = ("r_max", "avg_num_neighbors")
_COUNTS = ("num_bessel", "num_polynomial_cutoff", "max_ell", "num_interactions", "num_elements")
_IRREPS = ("hidden_irreps", "MLP_irreps", "edge_irreps")
_CLASSES = ("interaction_cls", "interaction_cls_first", "readout_cls")
_FLAGS = (
    *("use_reduced_cg", "use_so3", "use_edge_irreps_first", "use_agnostic_product"),
    *("use_last_readout_only", "use_embedding_readout", "apply_cutoff", "pair_repulsion"),
)
_TEXTS = ("radial_type", "distance_transform")
_LISTS = ("atomic_energies", "atomic_numbers", "atomic_inter_scale", "atomic_inter_shift")
_REFUSED = ("cueq_config", "oeq_config", "embedding_specs")
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def hyperparameters(model: Any) -> dict[str, Any]:
    """Return what a `ScaleShiftMACE` is built from, as `json` can store it.

    Raises
    ------
    ValueError
        If it is of another class, or has parts that are not plain values.
    """
    modules = import_mace()
    with environment_kept():
        from mace.tools.scripts_utils import extract_config_mace_model
    if type(model) is not modules.ScaleShiftMACE:
        raise ValueError(f"only ScaleShiftMACE models can be converted, not {type(model).__name__}")
    config = extract_config_mace_model(model)
    if present := [name for name in _REFUSED if config.get(name)]:
        raise ValueError(f"models with {', '.join(present)} cannot be converted")
    gates = {function: name for name, function in modules.gate_dict.items()}
    if config["gate"] not in gates:
        raise ValueError(f"unknown gate {config['gate']}")
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    values: dict[str, Any] = {"class": "ScaleShiftMACE", "dtype": dtype}
    values |= {name: float(config[name]) for name in _NUMBERS}
    values |= {name: int(config[name]) for name in _COUNTS}
    values |= {name: _text(config[name]) for name in _IRREPS}
    values |= {name: config[name].__name__ for name in _CLASSES}
    values |= {name: bool(config[name]) for name in _FLAGS}
    values |= {name: _text(config[name]) for name in _TEXTS}
    values |= {name: torch.as_tensor(config[name]).tolist() for name in _LISTS}
    correlation = config["correlation"]
    values["correlation"] = list(correlation) if isinstance(correlation, list) else int(correlation)
    values["radial_MLP"] = [int(width) for width in config["radial_MLP"]]
    values["heads"] = [str(head) for head in config["heads"]]
    values["gate"] = gates[config["gate"]]
    return values


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def build_model(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build a `ScaleShiftMACE` from hyper-parameters and tensors; nothing is unpickled.

    Names of classes are looked up in mace's own tables, never imported.

    Parameters
    ----------
    values
        From `hyperparameters`.
    tensors
        Its parameters and buffers by name.

    Raises
    ------
    ValueError
        If a value is unknown, or the tensors are not those of the model.
    """
    modules = import_mace()
    from e3nn import o3

    if values.get("class") != "ScaleShiftMACE" or values.get("dtype") not in _DTYPES:
        raise ValueError("the hyper-parameters are not those of a ScaleShiftMACE model")
    arguments = dict(values)
    del arguments["class"], arguments["dtype"]
    readouts = {
        c.__name__: c
        for c in vars(modules.blocks).values()
        if isinstance(c, type) and c.__name__.endswith("ReadoutBlock")
    }
    tables = {
        "interaction_cls": modules.interaction_classes,
        "interaction_cls_first": modules.interaction_classes,
        "readout_cls": readouts,
        "gate": modules.gate_dict,
    }
    for name, table in tables.items():
        if arguments[name] not in table:
            raise ValueError(f"this version of mace knows no {name} {arguments[name]!r}")
        arguments[name] = table[arguments[name]]
    if "NonLinear" not in arguments["readout_cls"].__name__:
        del arguments["readout_cls"]  # the class of the last readout, of which linear is no choice
    for name in _IRREPS:
        arguments[name] = None if arguments[name] is None else o3.Irreps(arguments[name])
    for name in ("atomic_energies", "atomic_inter_scale", "atomic_inter_shift"):
        arguments[name] = torch.tensor(arguments[name], dtype=torch.float64).numpy()
    arguments["distance_transform"] = arguments["distance_transform"] or "None"
    dtype = _DTYPES[values["dtype"]]
    # Weights are drawn and then overwritten: leave the process's generator as it was.
    with torch.random.fork_rng(devices=[]), default_dtype(dtype), warnings.catch_warnings():
        # about annotations in mace's own code
        warnings.filterwarnings("ignore", message="The TorchScript type system")
        model = modules.ScaleShiftMACE(**arguments)
    return _filled(model, tensors)


def _filled(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    own = dict(model.named_parameters())
    named = {**own, **dict(model.named_buffers())}
    missing = sorted(set(own) - set(tensors))
    wrong = [n for n, t in named.items() if n in tensors and t.shape != tensors[n].shape]
    if missing or wrong:
        raise ValueError(
            "the tensors are not those of this MACE model: "
            f"{', '.join((missing + wrong)[:5])} missing or of another shape"
        )
    with torch.no_grad():
        for name, tensor in named.items():
            if name in tensors:
                tensor.copy_(tensors[name])
    return model.eval()
