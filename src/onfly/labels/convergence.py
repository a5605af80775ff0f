"""Whether a calculation reached self-consistency, from its task document and its output file.

Task documents are "successful" more often than calculations are converged: VASP with a frozen
density (ICHARG >= 10) fulfils all that emmet asks for, and atomate2's documents of CP2K and
FHI-aims say nothing of the SCF.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onfly.labels.corrections import corrections_of
from onfly.labels.cp2k_units import cp2k_version, input_value
from onfly.labels.documents import Code, decode_structure, pick, plain
from onfly.labels.errors import LabelError
from onfly.labels.reasons import evidence, local_directory

__all__ = ["NOT_SELF_CONSISTENT_ALGORITHMS", "require_converged"]

# these leave the density or the orbitals as they are (VASP manual, ALGO)
NOT_SELF_CONSISTENT_ALGORITHMS = frozenset({"none", "nothing", "eigenval", "subrot", "chi"})
# A converged SCF changes the energy by less than EDIFF in its last step. One that a STOPCAR ended
# has fewer steps than NELM and looks converged; far above any EDIFF in use it is not.
_LAST_CHANGE = 0.01  # eV per atom

_CP2K_VERDICTS = re.compile(
    r"(SCF run converged|outer SCF loop converged)"
    r"|(SCF run NOT converged|outer SCF loop FAILED to converge)"
)
_AIMS_VERDICTS = re.compile(
    r"(Self-consistency cycle converged)|(SELF-CONSISTENCY CYCLE DID NOT CONVERGE)"
)
# from this version on CP2K stops when its SCF does not converge, unless it is told not to
_CP2K_STOPS_SINCE = (2024, 1)
_AIMS_SC_ITER_LIMIT = 1000  # the code's default


def require_converged(document: Any, code: Code, directory: str | None) -> None:
    """Raise if a calculation failed or is not known to have converged.

    Parameters
    ----------
    document
        Task document, as object or dictionary.
    code
        Which code's.
    directory
        Of the calculation, whose files are read where the document does not say enough.

    Raises
    ------
    LabelError
        With the cause as far as document and files tell it.
    """
    state = plain(pick(document, "state"))
    if state is not None and state != "successful":
        raise LabelError(_failed_state(document, code, state, directory), directory, _REMEDY[code])
    # a run that a STOPCAR ended within the SCF has fewer steps than NELM and looks converged
    if any("walltime" in e.lower() for c in corrections_of(document) for e in c["errors"]):
        raise LabelError(
            "the calculation was stopped at its wall time, its SCF may not have converged",
            directory,
            "give the label jobs more time",
        )
    if code == "vasp":
        _vasp(document, directory)
    elif code == "cp2k":
        _cp2k(document, directory)
    elif code == "aims":
        _aims(document, directory)
    elif code in ("ase", "forcefield"):
        _ase(document, directory)


_REMEDY: dict[Code, str | None] = {
    "vasp": "raise NELM or choose a more robust ALGO (see onfly.labels.careful)",
    "cp2k": "raise MAX_SCF or choose another minimiser (OT) or mixing",
    "abinit": "raise nstep or choose another mixing (iscf, diemac)",
    "aims": "raise sc_iter_limit or choose a smaller charge_mix_param",
    "ase": None,
    "forcefield": None,
}


def _failed_state(
    document: Any,
    code: Code,
    state: str,
    directory: str | None,
    ended: str = "the calculation ended in the state",
) -> str:
    """Say what is known of a failure, and last emmet's state, which hides the cause."""
    parts = [str(e) for e in pick(document, "analysis", "errors", default=())]
    if code == "vasp":
        limit, used = _vasp_steps(document)
        if limit and used and used >= limit:
            parts.append(f"the SCF did not converge in {limit} steps")
        moves = max((int(float(n)) for n in _vasp_tags(document, "NSW")), default=0)
        made = len(pick(document, "calcs_reversed", 0, "output", "ionic_steps", default=()))
        if 0 < moves <= made:
            parts.append(f"it is a relaxation that did not end in NSW = {moves} steps")
    errors = [e for c in corrections_of(document) for e in c["errors"]]
    if errors:
        parts.append(f"custodian met {', '.join(dict.fromkeys(errors))}")
    if seen := evidence(directory):
        parts.append(seen)
    return "; ".join([*parts, f"{ended} {state!r}"])


def _vasp_steps(document: Any) -> tuple[int | None, int]:
    calculation = pick(document, "calcs_reversed", 0)
    limit = pick(calculation, "input", "parameters", "NELM")
    step = pick(calculation, "output", "ionic_steps", -1)
    used = pick(step, "num_electronic_steps") or len(pick(step, "electronic_steps", default=()))
    return None if limit is None else int(limit), int(used)


def _vasp_tags(document: Any, tag: str) -> list[Any]:
    """Return a tag as VASP used it and as the INCAR gave it; VASP does not repeat every one."""
    sources = (pick(document, "calcs_reversed", 0, "input"), pick(document, "input"))
    values = [pick(source, part, tag) for source in sources for part in ("parameters", "incar")]
    return [value for value in values if value is not None]


def _vasp(document: Any, directory: str | None) -> None:
    for charge in _vasp_tags(document, "ICHARG"):
        if int(float(charge)) >= 10:
            raise LabelError(
                f"the calculation was not self-consistent (ICHARG = {charge}): its density is "
                "that of another calculation",
                directory,
                "take ICHARG out of the settings, or set it to 0, 1 or 2",
            )
    for algorithm in _vasp_tags(document, "ALGO"):
        if str(algorithm).strip().lower() in NOT_SELF_CONSISTENT_ALGORITHMS:
            raise LabelError(
                f"the calculation was not self-consistent (ALGO = {algorithm})",
                directory,
                "set ALGO to Normal, Fast or All",
            )
    calculation = pick(document, "calcs_reversed", 0)
    done = plain(pick(calculation, "has_vasp_completed", default="successful"))
    if done not in ("successful", True):
        raise LabelError(
            _failed_state(
                document,
                "vasp",
                str(done),
                directory,
                "VASP did not complete the calculation: it ended in the state",
            ),
            directory,
            _REMEDY["vasp"],
        )
    limit, used = _vasp_steps(document)
    if limit and used and used >= limit:
        raise LabelError(f"the SCF did not converge in {limit} steps", directory, _REMEDY["vasp"])
    steps = pick(calculation, "output", "ionic_steps", -1, "electronic_steps", default=())
    energies = [pick(step, "e_fr_energy") for step in steps[-2:]]
    n_atoms = pick(document, "nsites") or pick(document, "output", "nsites") or 0
    if len(energies) == 2 and None not in energies and n_atoms:
        change = abs(energies[1] - energies[0]) / n_atoms
        if not change <= _LAST_CHANGE:
            raise LabelError(
                f"the last SCF step still changed the energy by {change:.2g} eV per atom: the SCF "
                "was stopped before it converged",
                directory,
                "look for a STOPCAR or a time limit",
            )


def _lines(directory: str | None, *names: str) -> Iterator[str]:
    """Yield the lines of the first output file that is there."""
    folder = local_directory(directory)
    if folder is None:
        return
    for name in names:
        for path in (Path(folder, name), Path(folder, f"{name}.gz")):
            if not path.is_file():
                continue
            try:
                opener: Any = gzip.open if path.suffix == ".gz" else open
                with opener(path, "rt", errors="replace") as file:
                    yield from file
            except (OSError, EOFError, zlib.error):
                continue
            return


def _last_verdict(lines: Iterator[str], verdicts: re.Pattern[str]) -> str | bool | None:
    """Return True (converged), the line that says it did not, or None if nothing is said."""
    last: str | bool | None = None
    for line in lines:
        if found := verdicts.search(line):
            last = True if found[1] else " ".join(line.replace("*", " ").split())
    return last


def _cp2k(document: Any, directory: str | None) -> None:
    verdict = _last_verdict(_lines(directory, "cp2k.out"), _CP2K_VERDICTS)
    if isinstance(verdict, str):
        raise LabelError(f"the SCF did not converge ({verdict})", directory, _REMEDY["cp2k"])
    if verdict:
        return
    version = cp2k_version(document)
    ignores = input_value(document, "FORCE_EVAL/DFT/SCF", "IGNORE_CONVERGENCE_FAILURE")
    told = str(ignores).strip(".").upper()[:1] in ("T", "Y") if ignores is not None else False
    if version is None or version < _CP2K_STOPS_SINCE or told:
        raise LabelError(
            "whether CP2K's SCF converged is unknown: the task document does not hold it, and "
            "cp2k.out cannot be read here",
            directory,
            "let the run read the directory of the label (a file system that both share), or use "
            "CP2K 2024.1 or later without IGNORE_CONVERGENCE_FAILURE, which stops by itself",
        )


def _aims(document: Any, directory: str | None) -> None:
    limit = pick(document, "input", "parameters", "sc_iter_limit", default=_AIMS_SC_ITER_LIMIT)
    # the state is "successful" as soon as there are results
    structure = decode_structure(pick(document, "output", "structure"))
    used = pick(structure, "properties", "n_scf_iter")
    if limit and used and int(used) >= int(limit):
        raise LabelError(f"the SCF did not converge in {limit} steps", directory, _REMEDY["aims"])
    verdict = _last_verdict(_lines(directory, "aims.out"), _AIMS_VERDICTS)
    if isinstance(verdict, str):
        raise LabelError(f"the SCF did not converge ({verdict})", directory, _REMEDY["aims"])


def _ase(document: Any, directory: str | None) -> None:
    steps = pick(document, "output", "n_steps")
    if steps is not None and int(steps) > 1:
        raise LabelError(
            f"the labeller made {steps} steps of a relaxation or of dynamics, not a single point",
            directory,
            "use a static maker, or set steps=1",
        )
