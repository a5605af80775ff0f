"""Labellers by short name."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from jobflow import Maker

from onfly.labels.ase import AseLabelMaker
from onfly.labels.dotted import calculator_class, check_keywords, maker_class
from onfly.labels.vasp import VaspLabelMaker
from onfly.labels.vasp_presets import VASP_PRESETS

__all__ = ["label_maker", "preset_names"]


@dataclass(frozen=True)
class _AsePreset:
    """A calculator with its keywords, and where it comes from."""

    calculator: str
    package: str
    extra: str | None
    keywords: dict[str, Any] = field(default_factory=dict)


def _pyscf(xc: str, basis: str, **keywords: Any) -> _AsePreset:
    return _AsePreset(
        "onfly.labels.pyscf_calculator.PySCF",
        "pyscf",
        "pyscf",
        {"xc": xc, "basis": basis, "grid": 2} | keywords,
    )


_ASE_PRESETS: dict[str, _AsePreset] = {
    "gfn1-xtb": _AsePreset(
        "tblite.ase.TBLite", "tblite", "tblite", {"method": "GFN1-xTB", "verbosity": 0}
    ),
    "gfn2-xtb": _AsePreset(
        "tblite.ase.TBLite", "tblite", "tblite", {"method": "GFN2-xTB", "verbosity": 0}
    ),
    "emt": _AsePreset("ase.calculators.emt.EMT", "ase", None),
    # argon; smooth, since a cut-off jump of the energy has no force
    "lj": _AsePreset(
        "ase.calculators.lj.LennardJones",
        "ase",
        None,
        {"sigma": 3.4, "epsilon": 0.0104, "rc": 8.5, "smooth": True},
    ),
    "pyscf-b3lyp": _pyscf("b3lyp", "def2-svp"),
    "pyscf-b3lyp-tzvp": _pyscf("b3lyp", "def2-tzvp"),
    "pyscf-pbe": _pyscf("pbe", "def2-svp"),
    "gpaw-pbe": _AsePreset(
        "gpaw.GPAW",
        "gpaw",
        "gpaw",
        {
            "mode": {"name": "pw", "ecut": 400},
            "xc": "PBE",
            "kpts": {"size": (2, 2, 2), "gamma": True},
            "occupations": {"name": "fermi-dirac", "width": 0.05},
            "symmetry": {"point_group": False},
            "txt": "gpaw.txt",
        },
    ),
}


def preset_names() -> list[str]:
    """Return the names that `label_maker` knows.

    Returns
    -------
    list of str
        Sorted.

    Examples
    --------
    >>> {"emt", "gfn1-xtb", "vasp-mp-pbe-u"} <= set(preset_names())
    True
    """
    return [*sorted(_ASE_PRESETS), *(f"vasp-{name}" for name in VASP_PRESETS)]


def label_maker(name: str, /, **kwargs: Any) -> Maker:
    """Return a maker of labels.

    Parameters
    ----------
    name
        A preset (see `preset_names`), or the dotted path of an atomate2 Maker class, such as
        ``"atomate2.cp2k.jobs.core.StaticMaker"``.
    **kwargs
        Fields of the maker, or arguments of `VaspLabelMaker.from_preset`. For presets of ASE
        calculators, names that are no fields of
        `AseLabelMaker` are keyword arguments of the calculator and override the preset's.

    Raises
    ------
    ValueError
        If there is no such preset or class, the class is no Maker, or it does not take the
        keywords. Nothing is called before.
    ModuleNotFoundError
        If the package of the labeller is not installed; the message names the extra.

    Returns
    -------
    jobflow.Maker
        Its ``make(structure)`` is a job whose output has the energy (eV), forces (eV/Å, shape
        (N, 3)) and, for cells, the stress in the units of its code; `onfly.labels.extract` makes
        a `LabelDoc` in eV, eV/Å and eV/Å³ of it.

    Examples
    --------
    >>> label_maker("emt").calculator
    'ase.calculators.emt.EMT'
    >>> label_maker("vasp-pbe", kpoints_mesh=[2, 2, 2]).name
    'label vasp'
    >>> label_maker("vasp-pbee")
    Traceback (most recent call last):
        ...
    ValueError: unknown labeller 'vasp-pbee': use one of ...
    """
    if name in _ASE_PRESETS:
        return _ase_maker(name, _ASE_PRESETS[name], kwargs)
    if name.removeprefix("vasp-") in VASP_PRESETS and name.startswith("vasp-"):
        return _vasp_maker(name, kwargs)
    if "." in name:
        cls = maker_class(name)
        check_keywords(name, cls, kwargs)
        return cls(**kwargs)
    raise ValueError(
        f"unknown labeller {name!r}: use one of {', '.join(preset_names())}, or the dotted path "
        "of an atomate2 Maker class"
    )


def _ase_maker(name: str, preset: _AsePreset, kwargs: dict[str, Any]) -> AseLabelMaker:
    if importlib.util.find_spec(preset.package) is None:
        raise ModuleNotFoundError(
            f"the labeller {name!r} needs the package {preset.package!r}: "
            f'pip install "onfly[{preset.extra}]"'
        )
    names = {f.name for f in fields(AseLabelMaker)}
    own = {k: v for k, v in kwargs.items() if k in names}
    given = own.pop("calculator_kwargs", {})
    if not isinstance(given, Mapping):
        raise ValueError(f"calculator_kwargs of {name!r} must be a mapping, not {given!r}")
    keywords = preset.keywords | dict(given)
    keywords |= {k: v for k, v in kwargs.items() if k not in names}
    if keywords != preset.keywords:
        path = own.get("calculator", preset.calculator)
        check_keywords(path, calculator_class(path), keywords)
    own = {"name": f"{name} label", "calculator": preset.calculator} | own
    return AseLabelMaker(**own, calculator_kwargs=keywords)


def _vasp_maker(name: str, kwargs: dict[str, Any]) -> VaspLabelMaker:
    own = set(inspect.signature(VaspLabelMaker.from_preset).parameters) - {"preset", "kwargs"}
    known = own | {f.name for f in fields(VaspLabelMaker)} - {"input_set_generator"}
    for key in kwargs:
        if key not in known:
            tag = "; INCAR tags go into user_incar_settings" if key.isupper() else ""
            raise ValueError(
                f"the labeller {name!r} has an unexpected keyword {key!r}: it knows "
                f"{', '.join(sorted(known))}{tag}"
            )
    for key in ("user_incar_settings", "user_kpoints_settings", "run_vasp_kwargs"):
        if not isinstance(kwargs.get(key) or {}, Mapping):
            raise ValueError(f"{key} of {name!r} must be a mapping, not {kwargs[key]!r}")
    return VaspLabelMaker.from_preset(name.removeprefix("vasp-"), **kwargs)
