"""Running VASP makers on the stand-in: command, control file, synthetic POTCARs."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["standin_command", "standin_kwargs", "write_control", "write_potcars"]


def write_control(path: str | Path, **settings: Any) -> Path:
    """Write a control file of the stand-in (see `onfly.testing.vasp_standin`)."""
    path = Path(path).resolve()
    path.write_text(json.dumps(settings))
    path.with_suffix(".runs").unlink(missing_ok=True)
    return path


def standin_command(control: str | Path | None = None) -> str:
    """Return the command line that takes the place of ``vasp_std``."""
    words = [sys.executable, "-m", "onfly.testing.vasp_standin"]
    if control is not None:
        words += ["--control", str(Path(control).resolve())]
    return shlex.join(words)


def standin_kwargs(control: str | Path | None = None, **run_vasp_kwargs: Any) -> dict[str, Any]:
    """Return keyword arguments with which an atomate2 VASP maker runs on the stand-in.

    Without POTCARs (POTCAR.spec files take their place), and with custodian looking five times a
    second instead of every 10 s.
    """
    command = standin_command(control)
    run = {
        "vasp_cmd": command,
        "vasp_gamma_cmd": command,
        "custodian_kwargs": {"polling_time_step": 0.2},
    }
    return {
        "run_vasp_kwargs": run | run_vasp_kwargs,
        "write_input_set_kwargs": {"potcar_spec": True},
    }


def write_potcars(
    directory: str | Path, symbols: Iterable[str], functional: str = "POT_GGA_PAW_PBE"
) -> Path:
    """Write header-only POTCARs for ``PMG_VASP_PSP_DIR``; they hold no pseudopotential.

    Parameters
    ----------
    directory
        The value of ``PMG_VASP_PSP_DIR``.
    symbols
        POTCAR symbols such as ``"Mn_pv"``.
    functional
        Folder that pymatgen looks into: ``POT_GGA_PAW_PBE``, ``POT_PAW_PBE_64`` …
    """
    folder = Path(directory) / functional
    folder.mkdir(parents=True, exist_ok=True)
    for symbol in symbols:
        element = symbol.split("_")[0]
        (folder / f"POTCAR.{symbol}").write_text(
            f" PAW_PBE {symbol} 01Jan2000\n 4.00000000000000\n parameters from PSCTR are:\n"
            f"   VRHFIN ={element}: synthetic\n   LEXCH  = PE\n   EATOM  =   100.0000 eV\n"
            f"   TITEL  = PAW_PBE {symbol} 01Jan2000\n   LULTRA =        F\n"
            "   LPAW   =        T\n"
            "   POMASS =   10.000; ZVAL   =    4.000    mass and valenz\n"
            "   ENMAX  =  300.000; ENMIN  =  200.000 eV\n"
            "END of PSCTR-controll parameters\n 0.0\n End of Dataset\n"
        )
    return Path(directory)
