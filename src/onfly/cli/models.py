"""``onfly models``: list, show, compare and export fine-tuned models."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from onfly.cli.convert import convert_command
from onfly.cli.errors import fail
from onfly.cli.properties import properties_command

__all__ = ["app"]

app = typer.Typer(help="Find, compare and export fine-tuned models.", no_args_is_help=True)
app.command("convert")(convert_command)
app.command("properties")(properties_command)

SUMMARY = (
    "model_id",
    "formula_pretty",
    "chemsys",
    "foundation_model",
    "level_of_theory",
    "state",
    "threshold_ev",
    "n_labels",
    "n_audits",
    "n_audits_within",
    "coverage",
    "temperature_range",
    "campaign",
    "run_id",
    "created_at",
)
DETAILS = (
    *("stop_reason", "labeller", "n_steps", "simulated_time_fs", "energy_offset"),
    *("coverage_interval", "interventions", "audits", "drift", "calibration", "cpu_seconds"),
    *("seed", "versions"),
)


class ExportFormat(StrEnum):
    """What `onfly models export` writes."""

    ONFLY = "onfly"
    MACE = "mace"
    LAMMPS = "lammps"


class Precision(StrEnum):
    """Of exported files."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


def _library(refresh: bool) -> Any:
    # importing the library takes seconds: not for `onfly --help`
    from onfly.library import ModelLibrary

    try:
        return ModelLibrary.from_settings(refresh=refresh)
    except ValueError as error:
        raise fail(error) from None


@app.command("list")
def list_models(
    formula: Annotated[str | None, typer.Argument(help="Such as CaZrS3; default: all.")] = None,
    chemsys: Annotated[str | None, typer.Option(help="Such as Ca-S-Zr.")] = None,
    element: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    foundation: Annotated[str | None, typer.Option(help="Foundation model.")] = None,
    level: Annotated[str | None, typer.Option(help="Level of theory.")] = None,
    max_threshold: Annotated[float | None, typer.Option(help="eV")] = None,
    temperature: Annotated[float | None, typer.Option(help="K, within the model's range.")] = None,
    min_coverage: Annotated[float | None, typer.Option(help="Between 0 and 1.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Name of a campaign.")] = None,
    state: Annotated[str | None, typer.Option(help="ready, 'needs more audits', … .")] = None,
    limit: Annotated[int, typer.Option(min=0, help="0 shows all.")] = 100,
    refresh: Annotated[
        bool, typer.Option(help="Take in what jobs published since the last time.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """List models, the newest first."""
    from onfly.library.summary import SUMMARY_FIELDS, record_summary

    try:
        records = _library(refresh).records(
            formula=formula,
            chemsys=chemsys,
            elements=element or None,
            foundation_model=foundation,
            level_of_theory=level,
            threshold_ev=max_threshold,
            temperature=temperature,
            min_coverage=min_coverage,
            campaign=campaign,
            state=state,
            limit=limit,
            properties=SUMMARY_FIELDS,
        )
    except ValueError as error:
        raise fail(error) from None
    summaries = [record_summary(record) for record in records]
    if as_json:
        typer.echo(json.dumps(summaries, indent=1))
        return
    console = Console()
    if not summaries:
        console.print("no models match; `onfly run CONFIG.yaml` makes one")
        return
    # fits 80 columns; `onfly models show` and --json have the rest
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("model", "foundation", "level", "state", "threshold", "audits"):
        table.add_column(name, no_wrap=True)
    for s in summaries:
        table.add_row(
            s["model_id"],
            s["foundation_model"],
            s["level_of_theory"] or "",
            s["state"],
            _tolerance(s),
            f"{s['n_audits_within']}/{s['n_audits']}",
        )
    console.print(table)
    if limit and len(summaries) == limit:
        console.print(f"the newest {limit} are shown; --limit 0 shows all")


def _tolerance(summary: dict[str, Any]) -> str:
    """Return the tolerance of the energy, or the first of others."""
    if summary["threshold_ev"] is not None:
        return f"{1000 * summary['threshold_ev']:g} meV"
    from onfly.spec import Tolerance

    first = Tolerance.model_validate(summary["tolerances"][0])
    return f"{first.name} {first.text}"


@app.command()
def show(
    model_id: Annotated[str, typer.Argument(help="See `onfly models list`.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is needed to judge a model."""
    from onfly.library.summary import model_summary

    doc = _get(_library(True), model_id)
    content = doc.model_dump(mode="json", exclude={"weights"})
    if as_json:
        typer.echo(json.dumps(content | model_summary(doc), indent=1))
        return
    table = Table("", doc.model_id, show_header=True)
    for name in (*SUMMARY[1:], *DETAILS):
        table.add_row(name, _text(content[name]))
    if doc.refit is not None:
        more = f"{doc.refit.n_labels} labels, not proven; load_calculator(…, weights='refit')"
        table.add_row("refit", more)
    Console().print(table)


@app.command()
def compare(
    model_ids: Annotated[list[str], typer.Argument(help="Two or more.")],
    html: Annotated[
        Path | None,
        typer.Option(help="Also write a page with figures, and these as PNG beside it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show models side by side; rows in which they differ are marked."""
    library = _library(True)
    models = [_get(library, model_id) for model_id in model_ids]
    found = [model.model_dump(mode="json", exclude={"weights"}) for model in models]
    rows = {name: [content[name] for content in found] for name in SUMMARY[1:]}
    for kind in ("interventions", "audits"):
        for name in ("rmse", "max_abs", "foundation_rmse", "force_rmse", "foundation_force_rmse"):
            rows[f"{kind} {name}"] = [content[kind][name] for content in found]
    for name in ("drift", "n_steps", "stop_reason"):
        rows[name] = [content[name] for content in found]
    if html is not None:
        from onfly.report.compare import build_comparison  # imports matplotlib

        texts = {name: [_text(value) for value in values] for name, values in rows.items()}
        try:
            page = build_comparison(models, texts, html)
        except (OSError, ValueError) as error:
            raise fail(error) from None
        typer.echo(str(page), err=as_json)
    if as_json:
        columns = [
            {"model_id": model_id} | {name: values[i] for name, values in rows.items()}
            for i, model_id in enumerate(model_ids)
        ]
        typer.echo(json.dumps(columns, indent=1))
        return
    table = Table("", *model_ids, "")
    for name, values in rows.items():
        mark = "≠" if any(value != values[0] for value in values) else ""
        table.add_row(name, *map(_text, values), mark)
    Console().print(table)


@app.command()
def export(
    model_id: Annotated[str, typer.Argument(help="See `onfly models list`.")],
    folder: Annotated[Path, typer.Option("--to", help="Folder to write.")],
    labels: Annotated[
        bool, typer.Option(help="Also its labels, as labels.extxyz: a training set.")
    ] = True,
    file_format: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="onfly: for load_calculator; mace: for mace's ASE calculator; lammps: for LAMMPS. "
            "The last two only of models fine-tuned from MACE.",
        ),
    ] = ExportFormat.ONFLY,
    member: Annotated[
        list[int] | None,
        typer.Option(help="mace, lammps: only this member, from 0; may be given several times."),
    ] = None,
    dtype: Annotated[
        Precision | None, typer.Option(help="mace, lammps: default is the foundation model's.")
    ] = None,
    foundation: Annotated[
        str | None, typer.Option(help="mace, lammps: where the foundation model is here.")
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="mace, lammps: the foundation model may run code."),
    ] = False,
) -> None:
    """Write a model as a folder that load_calculator(path=FOLDER) reads, or as MACE files."""
    from onfly.artifacts import ArtifactError
    from onfly.library.export import export_model

    plain = file_format is ExportFormat.ONFLY
    if plain and (member or dtype or foundation):
        raise fail("--member, --dtype and --foundation need --format mace or --format lammps")
    library = _library(True)
    doc = _get(library, model_id)
    try:
        library.fetch_weights(model_id)
        if plain:
            target = export_model(doc, library.artifact_store, folder)
            typer.echo(str(target / "model.json"))
        else:
            _export_mace(library, doc, folder, file_format, member, dtype, foundation, trust_pickle)
    except (ArtifactError, ImportError, OSError, ValueError) as error:
        raise fail(error) from None
    if labels:
        _write_labels(library, {"run_id": doc.run_id}, folder.absolute() / "labels.extxyz")


def _export_mace(
    library: Any,
    doc: Any,
    folder: Path,
    file_format: ExportFormat,
    members: list[int] | None,
    dtype: Precision | None,
    foundation: str | None,
    trust_pickle: bool,
) -> None:
    import torch

    from onfly.library.mace_export import export_mace

    chosen: Any = file_format.value
    paths = export_mace(
        doc,
        library.artifact_store,
        folder,
        file_format=chosen,
        members=members or None,
        dtype=None if dtype is None else getattr(torch, dtype.value),
        foundation_model=foundation,
        trust_pickle=trust_pickle,
    )
    for path in paths:
        typer.echo(str(path))
    symbols = " ".join(sorted(map(str, doc.elements or [])))
    typer.echo(
        f"Elements: {symbols}. Energies are on the scale of the labels for {doc.formula_pretty} in "
        "cells of any size; for other compositions their zero means nothing.",
        err=True,
    )


@app.command("export-labels")
def export_all_labels(
    path: Annotated[Path, typer.Option("--to", help="File to write (extended xyz).")],
    campaign: Annotated[str | None, typer.Option(help="Only of a campaign.")] = None,
    formula: Annotated[str | None, typer.Option(help="Only of a compound.")] = None,
    labeller: Annotated[str | None, typer.Option(help="Only of a labeller.")] = None,
) -> None:
    """Write the labels of many compounds as one data set, to fine-tune a model of a class."""
    from onfly.library.criteria import reduced_formula

    criteria: dict[str, Any] = {"campaign": campaign, "labeller": labeller}
    try:
        criteria["formula_pretty"] = None if formula is None else reduced_formula(formula)
    except ValueError as error:
        raise fail(error) from None
    chosen = {name: value for name, value in criteria.items() if value is not None}
    _write_labels(_library(True), chosen, path)


def _write_labels(library: Any, criteria: dict[str, Any], path: Path) -> None:
    from onfly.library.export import export_labels, read_labels

    library.add_runs()  # labels lie in the folders of the runs until then
    try:
        count = export_labels(read_labels(library.labels_store, criteria), path)
    except ValueError as error:
        raise fail(error) from None
    typer.echo(f"{path} ({count} labels)")


def _get(library: Any, model_id: str) -> Any:
    try:
        return library.get(model_id)
    except LookupError as error:
        raise fail(error.args[0]) from None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, list):
        return " – ".join(map(_text, value))
    return str(value)
