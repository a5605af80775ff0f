"""``onfly class``: learn the labels of many compounds together, and see what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from onfly.cli.errors import fail

__all__ = ["app"]

app = typer.Typer(
    help="Learn the labels of many compounds together, as a foundation for the next ones.",
    no_args_is_help=True,
)
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


@app.callback()
def _group() -> None:
    """Learn the labels of many compounds together, as a foundation for the next ones."""


@app.command()
def update(
    name: Annotated[str, typer.Argument(help="Of the class, such as perovskites.")],
    campaign: Annotated[str | None, typer.Option(help="Labels of a campaign.")] = None,
    run: Annotated[
        list[str] | None, typer.Option(help="Labels of a run; may be given several times.")
    ] = None,
    chemsys: Annotated[str | None, typer.Option(help="Labels of exactly these elements.")] = None,
    element: Annotated[
        list[str] | None, typer.Option(help="Labels with an element; may be given several times.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Formula of which nothing is used; may be given several times."),
    ] = None,
    foundation: Annotated[
        str | None, typer.Option(help="What is fitted; default: the foundation of the runs.")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Level of theory, if there are several.")
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="File of structures on which the foundation's predictions are kept."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of the labels, to be recorded.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the fit.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=0, help="Folds that are left out to measure; 0 measures nothing."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the fit.")] = 0,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="The foundation of --foundation may run code.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is learned.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the next version of a class model to labels of the library.

    The fit takes minutes to hours; an update that was interrupted does not repeat finished fits.
    Labels and settings that have a version already give that one.
    """
    from onfly.classes.library import ClassLibrary
    from onfly.classes.selection import select_labels
    from onfly.classes.update import update_class
    from onfly.library import ModelLibrary
    from onfly.spec import FoundationSpec
    from onfly.spec.classes import ClassFitSpec, check_class_name

    criteria = _criteria(campaign, run, chemsys, element)
    if not criteria:
        raise fail("say whose labels are learned: --campaign, --run, --chemsys or --element")
    given = {"n_steps": steps, "folds": folds, "seed": seed}
    try:
        check_class_name(name)
        spec = ClassFitSpec.model_validate({k: v for k, v in given.items() if v is not None})
        library = ModelLibrary.from_settings()
        library.add_runs()
        selection = select_labels(library, criteria, exclude=exclude or (), level_of_theory=level)
        if dry_run:
            _show_selection(selection, as_json)
            return
        found = update_class(
            name,
            selection,
            ClassLibrary.from_settings(),
            foundation=None
            if foundation is None
            else FoundationSpec(
                source=foundation, options={"trust_pickle": True} if trust_pickle else {}
            ),
            spec=spec,
            replay=_structures(replay),
            licences=None if licence is None else {"labels": licence},
            campaign=campaign,
        )
    except (ValueError, OSError, ImportError) as error:
        raise fail(error) from None
    doc = found.doc
    if as_json:
        typer.echo(doc.model_dump_json(indent=1, exclude={"weights"}))
        return
    console = Console(highlight=False, soft_wrap=True)
    if not found.is_new:
        console.print(f"{doc.class_id} holds these labels already; nothing was done")
    else:
        _print(doc, console)
    console.print(f"use it as `foundation_model: {doc.source}`")


@app.command("list")
def list_classes(
    name: Annotated[str | None, typer.Argument(help="Of a class; default: all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List class models and their versions."""
    documents = _library().documents(name)
    summaries = [doc.summary() for doc in documents]
    if as_json:
        typer.echo(json.dumps(summaries, indent=1))
        return
    console = Console()
    if not summaries:
        console.print("no class models; `onfly class update NAME --campaign NAME` makes one")
        return
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("class", "foundation", "level", "compounds", "labels", "made"):
        table.add_column(title, no_wrap=True)
    for s in summaries:
        table.add_row(
            s["class_id"],
            s["foundation"],
            s["level_of_theory"],
            str(s["n_compounds"]),
            str(s["n_labels"]),
            s["created_at"][:16],
        )
    console.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="NAME or NAME@VERSION; see `onfly class list`.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a class model was made of, and what was measured."""
    from onfly.classes.names import ClassName

    try:
        doc = _library().get(ClassName.parse(name))
    except ValueError as error:
        raise fail(error) from None
    if as_json:
        typer.echo(doc.model_dump_json(indent=1, exclude={"weights"}))
        return
    _print(doc, Console(highlight=False, soft_wrap=True))


def _library() -> Any:
    from onfly.classes.library import ClassLibrary

    try:
        return ClassLibrary.from_settings()
    except ValueError as error:
        raise fail(error) from None


def _criteria(
    campaign: str | None, runs: list[str] | None, chemsys: str | None, elements: list[str] | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if campaign is not None:
        found["campaign"] = campaign
    if runs:
        found["run_id"] = {"$in": sorted(runs)}
    if chemsys is not None:
        found["chemsys"] = "-".join(sorted(chemsys.split("-")))
    if elements:
        found["elements"] = {"$all": sorted(elements)}
    return found


def _structures(path: Path | None) -> list[Any]:
    if path is None:
        return []
    import ase.io

    from onfly.schemas import to_atoms, to_structure

    found = ase.io.read(path, ":")
    return [to_atoms(to_structure(atoms)) for atoms in found]


def _show_selection(selection: Any, as_json: bool) -> None:
    counts: dict[str, int] = {}
    for label in selection.labels:
        formula = label.structure.composition.reduced_formula
        counts[formula] = counts.get(formula, 0) + 1
    content = {
        "level_of_theory": selection.level_of_theory,
        "n_labels": len(selection.labels),
        "compounds": counts,
        "excluded": list(selection.excluded),
        "left_out": dict(selection.left_out or {}),
    }
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        return
    for key, value in content.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{key}: {text}")


def _print(doc: Any, console: Console) -> None:
    console.print(
        f"{doc.class_id}: {doc.n_labels} labels of {len(doc.compounds)} compounds, "
        f"{doc.level_of_theory}; fitted from {', '.join(doc.parents)}, {doc.n_replay} "
        "configurations replayed"
    )
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("compound", "labels", "offset meV/atom", "force error meV/Å", "before"):
        table.add_column(title)
    for formula, c in doc.compounds.items():
        table.add_row(
            formula,
            str(c.n_labels),
            f"{1000 * c.offset:.1f}",
            f"{1000 * c.force_rmse:.1f}",
            f"{1000 * c.force_rmse_before:.1f}",
        )
    console.print(table)
    if (held := doc.held_out) is not None:
        console.print(
            f"left out, {held.n_folds} folds: force error {1000 * held.force_rmse:.1f} meV/Å, the "
            f"foundation's {1000 * held.force_rmse_before:.1f}; energy error "
            f"{1000 * held.energy_rmse:.2f} meV/atom, the foundation's "
            f"{1000 * held.energy_rmse_before:.2f}"
        )
    measured = "measured on compounds left out" if doc.measured else "as of the foundation"
    console.print(
        f"prior width {doc.prior_std:.3g}, calibration prior Gamma({doc.calibration_shape:.3g}, "
        f"{doc.calibration_rate:.3g}): {measured}"
    )
    if (breadth := doc.breadth) is not None and breadth.n_structures:
        console.print(
            f"on {breadth.n_structures} unrelated crystals forces changed by "
            f"{1000 * breadth.force_change:.1f} meV/Å (of {1000 * breadth.force_rms:.0f}), "
            f"energies by {1000 * breadth.energy_change:.1f} meV/atom"
        )
    for key, text in doc.licences.items():
        console.print(f"licence of {key}: {text}", markup=False)
    cost = ", ".join(f"{key} {value:.0f} s" for key, value in doc.cpu_seconds.items())
    console.print(f"CPU: {cost}")
