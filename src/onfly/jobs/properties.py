"""Jobs that measure properties: when a model is published, or later."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from jobflow import Maker, Response
from pymatgen.core import Molecule, Structure

from onfly.artifacts.workspace import RunWorkspace
from onfly.jobs.base import otf_job
from onfly.library.models import ModelLibrary
from onfly.library.properties import set_properties
from onfly.properties.model import measure_model
from onfly.schemas import FineTunedModelDoc
from onfly.schemas.properties import PropertiesDoc
from onfly.spec import RunSpec
from onfly.spec.properties import PropertiesSpec

__all__ = ["PropertiesMaker", "properties_of_run"]

logger = logging.getLogger(__name__)


def properties_of_run(
    workspace: RunWorkspace,
    model: FineTunedModelDoc,
    spec: RunSpec,
    label_maker: Maker | None,
    device: str,
) -> PropertiesDoc | None:
    """Return the properties that a run asks for; None if it asks for none.

    A model is not lost because a property of it cannot be measured: what went wrong then stands in
    the document.
    """
    asked = spec.properties
    if not asked.kinds:
        return None
    try:
        return measure_model(
            model,
            workspace.store,
            asked,
            label_maker=label_maker if asked.labeller else None,
            device=device,
            trust_pickle=True,  # the run has loaded it already
        )
    except Exception as error:  # whatever optimizers, labellers and libraries raise
        logger.warning("the properties of %s were not measured", model.model_id, exc_info=True)
        return PropertiesDoc(model_id=model.model_id, problems=[f"{type(error).__name__}: {error}"])


@dataclass
class PropertiesMaker(Maker):
    """Measure properties of a published model, and write them into its document in the library.

    Parameters
    ----------
    name
        Name of the job.
    spec
        What is measured, and how.
    label_maker
        The labeller, to compare with; None leaves it out.

    Raises
    ------
    ModelNotFoundError
        By the job: the library has no such model.
    ValueError
        By the job: the model is one of a molecule, which has no such properties.

    Notes
    -----
    Energies are in eV, volumes in Å³, elastic constants and bulk moduli in GPa, frequencies in THz.

    Examples
    --------
    >>> maker = PropertiesMaker(spec=PropertiesSpec(kinds=["eos", "elastic"]))
    >>> maker.make(model_id="CuAu-f716e6da3f4e").name
    'properties'
    """

    name: str = "properties"
    spec: PropertiesSpec = field(default_factory=lambda: PropertiesSpec(kinds=("eos", "elastic")))
    label_maker: Maker | None = None

    @otf_job(role="gpu", output_schema=PropertiesDoc)
    def make(self, model_id: str, structure: Structure | Molecule | None = None) -> Response:
        """Return the properties.

        Parameters
        ----------
        model_id
            Of the model, or a reference to one that an earlier job publishes.
        structure
            The crystal; None takes that of the model.

        Raises
        ------
        ModelNotFoundError
            If the library has no such model.
        ValueError
            If the structure is no crystal.
        """
        library = ModelLibrary.from_settings()
        model = library.fetch_weights(model_id)
        found = measure_model(
            model,
            library.artifact_store,
            self.spec,
            structure=structure,
            label_maker=self.label_maker,
            device=library.settings.DEVICE,
        )
        set_properties(library, model_id, found)
        return Response(output=found)
