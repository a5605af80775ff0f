"""A class update as a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobflow import Maker
from pymatgen.core import Structure

from onfly.artifacts.blobs import encode_blob
from onfly.classes.document import ClassModelDoc
from onfly.classes.library import ClassLibrary
from onfly.classes.selection import select_labels
from onfly.classes.update import update_class
from onfly.jobs.base import otf_job
from onfly.library import ModelLibrary
from onfly.schemas import to_atoms
from onfly.settings import get_settings
from onfly.spec import FoundationSpec
from onfly.spec.classes import ClassFitSpec

__all__ = ["ClassUpdateMaker"]


@dataclass
class ClassUpdateMaker(Maker):
    """Learn the labels of many compounds together, as the next version of a class model.

    Parameters
    ----------
    name
        Name of the job.
    class_name
        Name of the class: ``foundation_model="class:NAME@VERSION"`` are its models.
    fit
        How it is fitted.
    foundation
        What it is fitted from: a name, or a table as in `RunSpec`; None takes that of the runs.
    level_of_theory
        Needed where the labels are of several.
    exclude
        Formulas of compounds of which nothing may be used.
    licences
        Further ones to record, such as ``{"labels": "CC-BY-4.0"}``.

    Raises
    ------
    ClassModelError
        By the job: there are no labels, or they are of several levels of theory or foundations.

    Notes
    -----
    Offsets of elements and compounds are in eV; see `onfly.classes.document.ClassModelDoc`.

    Examples
    --------
    >>> job = ClassUpdateMaker(class_name="perovskites").make(campaign="oxides")
    >>> job.name
    'otf class update'
    """

    name: str = "otf class update"
    class_name: str = "class"
    fit: ClassFitSpec = field(default_factory=ClassFitSpec)
    foundation: str | dict[str, Any] | None = None
    level_of_theory: str | None = None
    exclude: list[str] = field(default_factory=list)
    licences: dict[str, str] = field(default_factory=dict)

    # a compound that failed is no reason not to learn from the others
    @otf_job(role="gpu", may_miss=True, data=["weights"], output_schema=ClassModelDoc)
    def make(
        self,
        campaign: str | None = None,
        run_ids: Sequence[str] | None = None,
        replay: Sequence[Structure] | None = None,
        after: Any = None,
    ) -> ClassModelDoc:
        """Return the document with its weights, which go to the additional store ``data``.

        Labels and settings that have a version already give that one.

        Parameters
        ----------
        campaign
            Whose labels are learned.
        run_ids
            Only those of these runs.
        replay
            Further structures on which the foundation's predictions are kept.
        after
            Outputs that the job waits for; nothing is done with them.

        Raises
        ------
        ClassModelError
            If there are no labels, or they do not go together.
        ValueError
            If neither campaign nor runs are given.
        """
        criteria: dict[str, Any] = {} if campaign is None else {"campaign": campaign}
        if run_ids is not None:
            criteria["run_id"] = {"$in": sorted(run_ids)}
        if not criteria:
            raise ValueError("a class update needs a campaign or run_ids: whose labels?")
        settings = get_settings()
        library = ModelLibrary.from_settings(settings)
        library.add_runs()  # labels lie in the folders of the runs until their jobs put them out
        selection = select_labels(
            library, criteria, exclude=self.exclude, level_of_theory=self.level_of_theory
        )
        classes = ClassLibrary.from_settings(settings)
        doc = update_class(
            self.class_name,
            selection,
            classes,
            foundation=None
            if self.foundation is None
            else FoundationSpec.model_validate(self.foundation),
            spec=self.fit,
            replay=[to_atoms(structure) for structure in replay or ()],
            licences=self.licences,
            campaign=campaign,
            settings=settings,
            store=False,
        ).doc
        classes.fetch_weights(doc)
        blob = encode_blob(classes.artifact_store.load_bytes(doc.weights_file))
        return doc.model_copy(update={"weights": [blob]})
