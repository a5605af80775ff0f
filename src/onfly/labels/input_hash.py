"""Hash of the settings that define the potential energy surface.

Labels of one run must lie on one surface. Tags that only steer how the ground state is reached
(algorithm, mixing, parallelisation, output files) do not count; everything else does, also tags
that are unknown here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from onfly.labels.documents import Code, pick
from onfly.labels.run_only import ABINIT_GEOMETRY, RUN_ONLY_INCAR_TAGS, RUN_ONLY_KEYWORDS

__all__ = ["hash_settings", "incar_settings", "settings_of"]

_LDAU_LISTS = ("LDAUL", "LDAUU", "LDAUJ")


def _canonical(value: Any) -> Any:
    """Bring values that mean the same (1 and 1.0, tuples and lists, "Accurate") to one form."""
    if isinstance(value, Mapping):
        return {str(k): _canonical(v) for k, v in sorted(value.items(), key=lambda i: str(i[0]))}
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return f"{float(value):.10g}"
    if isinstance(value, str):
        return value.strip().lower()
    if isinstance(value, Sequence):
        return [_canonical(v) for v in value]
    if hasattr(value, "tolist"):
        return _canonical(value.tolist())
    if hasattr(value, "as_dict"):
        return _canonical(value.as_dict())
    return str(value)


def hash_settings(settings: Mapping[str, Any]) -> str:
    """Return the sha256 of settings, independent of key order and number formats."""
    text = json.dumps(_canonical(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _potcar_element(symbol: str) -> str:
    return symbol.split()[-1].split("_")[0]


def incar_settings(incar: Mapping[str, Any], potcar_symbols: Sequence[str]) -> dict[str, Any]:
    """Return the INCAR tags that count, with the +U lists keyed by element.

    Parameters
    ----------
    incar
        All tags.
    potcar_symbols
        In the order of the POTCAR, which is the order of VASP's per-species lists.
    """
    elements = [_potcar_element(s) for s in potcar_symbols]
    settings: dict[str, Any] = {}
    for tag, value in incar.items():
        tag = tag.upper()
        if tag in RUN_ONLY_INCAR_TAGS:
            continue
        if tag in _LDAU_LISTS and isinstance(value, Sequence) and len(value) == len(elements):
            value = dict(zip(elements, value, strict=True))
        settings[tag] = value
    if not settings.get("LDAU"):
        for tag in ("LDAU", "LDAUTYPE", *_LDAU_LISTS):
            settings.pop(tag, None)
    return settings


def _vasp(document: Any) -> dict[str, Any] | None:
    source = pick(document, "calcs_reversed", 0, "input") or pick(document, "input")
    incar = pick(source, "incar")
    if incar is None:
        return None
    specs = pick(source, "potcar_spec", default=[])
    titles = [str(pick(spec, "titel", default="")) for spec in specs]
    symbols = pick(source, "potcar", default=[]) or titles
    kpoints = pick(source, "kpoints", default={})
    kpoints = kpoints.as_dict() if hasattr(kpoints, "as_dict") else dict(kpoints)
    return {
        "incar": incar_settings(incar, symbols),
        "kpoints": {
            key: kpoints.get(key)
            for key in ("generation_style", "kpoints", "usershift", "kpts_weights")
        },
        "potcar": sorted(set(titles or symbols)),
        "functional": sorted(set(pick(source, "potcar_type", default=[]))),
    }


def _calculator(document: Any) -> dict[str, Any]:
    keywords = pick(document, "calculator_kwargs", default={})
    return {
        "calculator": pick(document, "calculator") or pick(document, "ase_calculator_name"),
        "keywords": {k: v for k, v in keywords.items() if k not in RUN_ONLY_KEYWORDS},
    }


def _forcefield(document: Any) -> dict[str, Any]:
    return {
        "forcefield": pick(document, "forcefield_name"),
        "version": pick(document, "forcefield_version"),
    }


def _cp2k(document: Any) -> dict[str, Any]:
    source = pick(document, "calcs_reversed", 0, "input")
    return {
        "dft": pick(source, "dft"),
        "kinds": pick(source, "atomic_kind_info"),
        "xc": pick(document, "input", "xc"),
    }


def _abinit(document: Any) -> dict[str, Any]:
    source = pick(document, "input", "abinit_input", default={})
    # an AbinitInput is itself a mapping, of its variables
    source = source.as_dict() if hasattr(source, "as_dict") else source
    variables = {k: v for k, v in source.get("abi_args", ()) if k not in ABINIT_GEOMETRY}
    pseudos = [pick(p, "basename") or pick(p, "filename") for p in source.get("pseudos", ())]
    return {"variables": variables, "pseudos": pseudos, "xc": pick(document, "input", "xc")}


def _aims(document: Any) -> dict[str, Any]:
    parameters = dict(pick(document, "input", "parameters", default={}))
    for key in ("species_dir", "output", "restart", "walltime"):
        parameters.pop(key, None)
    return {"parameters": parameters, "xc": pick(document, "input", "xc")}


_SETTINGS = {
    "vasp": _vasp,
    "ase": _calculator,
    "forcefield": _forcefield,
    "cp2k": _cp2k,
    "abinit": _abinit,
    "aims": _aims,
}


def settings_of(document: Any, code: Code) -> dict[str, Any] | None:
    """Return the settings in a task document that define the potential energy surface.

    Returns
    -------
    dict or None
        None if the document does not record them.
    """
    settings = _SETTINGS[code](document)
    return None if settings is None else {"code": code, **settings}
