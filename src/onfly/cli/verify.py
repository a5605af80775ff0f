"""``onfly doctor --verify``: everything on disk and in the stores, compared with its checksums."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from onfly.artifacts.damage import Problem

__all__ = ["DAMAGED", "show_damage", "verify_all"]

# exit code of the command if something cannot be used
DAMAGED = 1


def verify_all() -> Iterator[Problem]:
    """Yield all that is damaged or missing; a check that fails itself is a problem of its own."""
    from onfly.settings import get_settings

    settings = get_settings()
    checks: tuple[tuple[str, Callable[[Any], Iterable[Problem]]], ...] = (
        ("labels", _labels),
        ("runs", _runs),
        ("stores", _stores),
        ("models", _models),
    )
    for name, check in checks:
        try:
            yield from check(settings)
        except Exception as error:  # whatever a damaged file or a foreign driver leads to
            message = f"cannot be checked ({type(error).__name__}: {error})"
            yield Problem(name, message, "mend what is said above, then check again")


def _labels(settings: Any) -> Iterable[Problem]:
    from onfly.labels.store import LabelStore

    return LabelStore(settings.ARTIFACT_DIR / "labels").problems()


def _runs(settings: Any) -> Iterable[Problem]:
    from onfly.cli.verify_runs import verify_runs
    from onfly.labels.store import LabelStore

    root = settings.ARTIFACT_DIR
    return verify_runs(root, LabelStore(root / "labels"))


def _stores(settings: Any) -> Iterable[Problem]:
    from onfly.stores import job_store
    from onfly.stores.verify import verify_store

    return verify_store(job_store(settings))


def _models(settings: Any) -> Iterable[Problem]:
    from onfly.library import ModelLibrary
    from onfly.library.repair import verify_models

    return verify_models(ModelLibrary.from_settings(settings, refresh=False))


def show_damage(*, as_json: bool = False) -> None:
    """Print what `verify_all` finds.

    Raises
    ------
    typer.Exit
        With code 1 if something cannot be used; warnings alone, where a second copy is sound or
        nothing is lost, end with 0.
    """
    problems = list(verify_all())
    damaged = sum(problem.level == "error" for problem in problems)
    if as_json:
        typer.echo(json.dumps([asdict(problem) for problem in problems], indent=1))
    else:
        console = Console(highlight=False, soft_wrap=True)
        marks = {"error": "[red]damaged[/red]", "warning": "[yellow]warning[/yellow]"}
        for problem in problems:
            console.print(f"{marks[problem.level]}: {escape(problem.where)}")
            console.print(f"  {escape(problem.message)}")
            console.print(f"  remedy: {escape(problem.remedy)}")
        n_warnings = len(problems) - damaged
        console.print(
            f"{damaged} damaged, {n_warnings} warnings" if problems else "everything is sound"
        )
    if damaged:
        raise typer.Exit(DAMAGED)
