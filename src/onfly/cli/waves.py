"""A campaign that learns, here: wave after wave, with a class update after each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping

from pymatgen.core import Molecule, Structure
from rich.console import Console

from onfly.classes.library import ClassLibrary
from onfly.classes.names import ClassModelError
from onfly.classes.selection import select_labels
from onfly.classes.update import update_class
from onfly.flows.campaign import CampaignMaker
from onfly.flows.waves import waves_of
from onfly.library import ModelLibrary
from onfly.spec.classes import ClassCampaignSpec

__all__ = ["waves_here"]

logger = logging.getLogger(__name__)
console = Console()


def waves_here(
    maker: CampaignMaker,
    runs: Mapping[str, Structure | Molecule],
    wanted: Collection[str],
    run: Callable[[str, str | None], bool],
) -> Iterator[str]:
    """Run the compounds of a campaign, and yield those that came to their end.

    Done again, it makes the same updates: of labels that have a version, that version.

    Parameters
    ----------
    maker
        The campaign, with its `class_model`.
    runs
        Structures of all its compounds.
    wanted
        Runs that have not ended.
    run
        Runs one of them from a foundation (None is the campaign's), and says whether it ended.
    """
    spec = maker.class_model
    assert isinstance(spec, ClassCampaignSpec)
    source, done = None, []
    for wave in waves_of(spec, runs):
        for run_id in wave:
            if run_id in wanted and run(run_id, source):
                yield run_id
        done += wave
        source = _update(maker.campaign, spec, done) or source


def _update(campaign: str, spec: ClassCampaignSpec, run_ids: Collection[str]) -> str | None:
    """Learn the labels of some runs, and return the name of the version."""
    library = ModelLibrary.from_settings()
    library.add_runs()
    criteria = {"campaign": campaign, "run_id": {"$in": sorted(run_ids)}}
    try:
        selection = select_labels(library, criteria)
        found = update_class(
            spec.name, selection, ClassLibrary.from_settings(), spec=spec.fit, campaign=campaign
        )
    except ClassModelError as error:
        logger.warning("the class is not updated: %s", error)
        console.print(f"the class is not updated: {error}", markup=False, soft_wrap=True)
        return None
    what = "made" if found.is_new else "found"
    console.print(
        f"{found.doc.source} {what}: {found.doc.n_labels} labels of "
        f"{len(found.doc.compounds)} compounds",
        highlight=False,
        soft_wrap=True,
    )
    return found.doc.source
