"""``onfly store``: copy runs and libraries from one store to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onfly.cli.errors import fail

__all__ = ["app"]

app = typer.Typer(help="Copy runs and libraries between stores.", no_args_is_help=True)

WHERE = (
    "`default` (the store of the settings), a folder (an embedded store), or a YAML file with a "
    "JOB_STORE (or jobflow's configuration file)"
)


@app.callback()
def _group() -> None:
    """Copy runs and libraries between stores."""


@app.command()
def copy(
    source: Annotated[str, typer.Option("--from", help=WHERE)] = "default",
    target: Annotated[str, typer.Option("--to", help=WHERE)] = "default",
    run: Annotated[str | None, typer.Option(help="Only this run; default: everything.")] = None,
) -> None:
    """Copy job outputs, models, labels and runs with all weights; it may be repeated."""
    from maggma.core import StoreError

    from onfly.settings import get_settings
    from onfly.stores.copying import copy_collection, copy_outputs

    settings = get_settings()
    try:
        origin, goal = _open(source, is_there=True), _open(target)
        if origin.docs_store == goal.docs_store:
            raise ValueError(f"source and target are the same store: {origin.docs_store.name}")
        origin.connect()
        goal.connect()
        counts = {"outputs": copy_outputs(origin, goal, run)}
        for name, key in (
            (settings.MODELS_COLLECTION, "model_id"),
            (settings.LABELS_COLLECTION, "label_id"),
            (settings.RUNS_COLLECTION, "run_id"),
        ):
            criteria = {} if run is None else {"run_id": run}
            counts[name] = copy_collection(origin, goal, name, key, criteria)
    except (ValueError, OSError, StoreError) as error:
        raise fail(error) from None
    for name, count in counts.items():
        typer.echo(f"{name}: {count.documents} documents, {count.blobs} blobs")


def _open(where: str, *, is_there: bool = False) -> Any:
    """Return the job store that an argument names; one to copy from must be there."""
    from onfly.settings import get_settings
    from onfly.spec.yaml import read_source
    from onfly.stores import embedded_job_store, job_store

    if where == "default":
        return job_store()
    path = Path(where).expanduser()
    if path.is_file():
        content = read_source(path).data
        spec = content.get("JOB_STORE", content)
        if not isinstance(spec, dict) or "docs_store" not in spec:
            raise ValueError(
                f"{path} has no JOB_STORE: a mapping with docs_store and additional_stores"
            )
        try:
            return job_store(get_settings(JOB_STORE=spec))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if path.suffix in (".yaml", ".yml", ".json"):
        raise ValueError(f"no file {path}")
    if is_there and not path.is_dir():
        raise ValueError(f"no store in {path}: give {WHERE}")
    return embedded_job_store(path)
