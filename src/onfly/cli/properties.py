"""``onfly models properties``: measure properties of a crystal by a model, with error bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onfly.cli.errors import fail

if TYPE_CHECKING:
    from onfly.schemas.properties import PropertiesDoc

__all__ = ["properties_command"]


def properties_command(
    model_id: Annotated[str, typer.Argument(help="See `onfly models list`.")],
    eos: Annotated[bool, typer.Option("--eos", help="Volume, energy, bulk modulus.")] = False,
    elastic: Annotated[bool, typer.Option("--elastic", help="Elastic constants.")] = False,
    phonon: Annotated[bool, typer.Option("--phonon", help="Phonon frequencies.")] = False,
    md: Annotated[
        bool, typer.Option("--md", help="Radial distribution function and diffusion.")
    ] = False,
    structure: Annotated[
        Path | None, typer.Option(help="File of the crystal; default: that of the model.")
    ] = None,
    labeller: Annotated[
        str | None,
        typer.Option(help="Compare with this labeller too, such as emt: many single points."),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="From the posterior.")] = 12,
    temperature: Annotated[float, typer.Option(help="K, of --md.")] = 300.0,
    n_steps: Annotated[int, typer.Option(min=200, help="MD steps, of --md.")] = 1000,
    foundation: Annotated[
        str | None, typer.Option(help="Where the foundation model is on this machine.")
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="The foundation model may run code.")
    ] = False,
    save: Annotated[
        bool, typer.Option("--save/--no-save", help="Write them into the model's document.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Measure properties by a model, with error bars, beside its foundation and a labeller."""
    given = {"eos": eos, "elastic": elastic, "phonon": phonon, "md": md}
    kinds = [kind for kind, asked in given.items() if asked]
    if not kinds:
        raise fail("name at least one of --eos, --elastic, --phonon and --md")
    # these take seconds to import: not for `onfly --help`
    from onfly.artifacts import ArtifactError
    from onfly.labels.presets import label_maker
    from onfly.library import ModelLibrary
    from onfly.library.properties import set_properties
    from onfly.properties.model import measure_model
    from onfly.spec.properties import PropertiesSpec
    from onfly.structures import read_structure

    try:
        library = ModelLibrary.from_settings()
        model = library.fetch_weights(model_id)
        spec: dict[str, Any] = {"kinds": kinds, "draws": draws}
        found = measure_model(
            model,
            library.artifact_store,
            PropertiesSpec(**spec, temperature=temperature, n_steps=n_steps),
            structure=None if structure is None else read_structure(structure),
            label_maker=None if labeller is None else label_maker(labeller),
            device=library.settings.DEVICE,
            foundation_model=foundation,
            trust_pickle=trust_pickle,
        )
        if save:
            set_properties(library, model_id, found)
    except LookupError as error:
        raise fail(error.args[0]) from None
    except (ArtifactError, ImportError, OSError, RuntimeError, ValueError) as error:
        raise fail(error) from None
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    _show(found)


def _show(found: PropertiesDoc) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    names = ["property", "", "model", "±", "foundation", "labeller", "error/±"]
    table = Table(*names, box=box.SIMPLE, pad_edge=False)
    for measured in found.properties:
        for value in measured.values:
            numbers = (value.value, value.std, value.foundation, value.labeller, value.z)
            cells = ["–" if number is None else f"{number:.4g}" for number in numbers]
            table.add_row(f"{measured.kind} {value.name}", value.unit, *cells)
    console.print(table)
    for measured in found.properties:
        for problem in measured.problems:
            console.print(f"{measured.kind}: {problem}", highlight=False, markup=False)
    if found.n_labels:
        console.print(f"{found.n_labels} labels were computed for it")
