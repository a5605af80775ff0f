"""What one settings file needs, and which of it is missing here; nothing is loaded or labelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onfly.cli.checks import Finding
from onfly.cli.plan import runs_of
from onfly.flows.check import check_run
from onfly.potentials.foundation import describe_foundation
from onfly.spec import RunSpec
from onfly.spec.yaml import ConfigError, read_source

__all__ = ["file_findings"]

# compounds named in a message that many share
_NAMED = 3


def file_findings(config: Path) -> Iterator[Finding]:
    """Yield what the file of a run or a campaign needs: what is there, and what is missing.

    What is missing only where labels are computed is a note for a chained run, since its labels
    may be jobs of another machine.

    Parameters
    ----------
    config
        YAML file, as `onfly run` or `onfly submit` takes it.
    """
    try:
        runs = runs_of(config)
        chained = _mode(config) == "chained"
    except (ConfigError, OSError, ValueError) as error:
        yield Finding(str(config), "error", str(error), "correct the file")
        return
    yield Finding(str(config), "ok", _sentence(next(iter(runs.values()))[0], len(runs)))
    here: dict[str, list[str]] = {}
    anywhere: set[str] = set()
    for name, (spec, structures) in runs.items():
        for problem in check_run(spec, structures):
            here.setdefault(problem, []).append(name)
        if chained:
            anywhere |= set(check_run(spec, structures, here=False))
    for problem, names in here.items():
        where = "" if len(names) == len(runs) else f" ({_some(names)})"
        what, remedy = _split(problem)
        if chained and problem not in anywhere:
            remedy = f"{remedy}; " if remedy else ""
            remedy += "needed on the workers that label, on this machine only if it is one"
            yield Finding("labeller", "note", what + where, remedy)
        else:
            yield Finding("missing", "error", what + where, remedy)
    if not here:
        yield Finding("missing", "ok", "nothing is missing for this file")
    yield from _downloads(spec for spec, _ in runs.values())


def _downloads(specs: Iterator[RunSpec]) -> Iterator[Finding]:
    seen = set()
    for spec in specs:
        source = spec.foundation.source
        try:
            found = describe_foundation(spec.foundation)
        except (ValueError, TypeError, OSError):
            continue  # already said
        if found.family == "mace" and found.path is None and source not in seen:
            seen.add(source)
            yield Finding(
                "foundation model",
                "note",
                f"mace downloads the weights of {source} when they are first used",
                "on nodes without a network: load it once where there is one, with the same "
                "home directory",
            )


def _split(problem: str) -> tuple[str, str]:
    """Return what is wrong, and the remedy that the sentence ends with."""
    for sign in (": pip install", "; set ", "; load ", ": take ", ": choose "):
        what, found, rest = problem.rpartition(sign)
        if found:
            return what, f"{sign[2:]}{rest}"
    return problem, ""


def _mode(config: Path) -> str:
    data = read_source(config).data
    return str(data.get("mode", "chained" if "campaign" in data else "resident"))


def _sentence(spec: RunSpec, n_runs: int) -> str:
    labeller = spec.labels.labeller
    what = "one run" if n_runs == 1 else f"{n_runs} runs"
    return (
        f"{what}: foundation {spec.foundation.source}, labeller "
        f"{'none' if labeller is None else labeller.name}, posterior {spec.posterior.kind}"
    )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
