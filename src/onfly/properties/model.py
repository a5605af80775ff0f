"""Properties of a published model, as its settings ask for them."""

from __future__ import annotations

import logging
from pathlib import Path

from jobflow import Maker
from pymatgen.core import Molecule, Structure

from onfly.artifacts import ArtifactStore
from onfly.labels.store import LabelStore
from onfly.library.loading import build_calculator
from onfly.properties.compare import compare, force_fields
from onfly.properties.dynamics import Dynamics
from onfly.properties.elastic import Elastic
from onfly.properties.eos import EquationOfStateFit
from onfly.properties.labeller import LabelCalculator
from onfly.properties.measured import Property
from onfly.properties.phonon import Phonons
from onfly.schemas import FineTunedModelDoc, to_atoms
from onfly.schemas.properties import PropertiesDoc
from onfly.session import calibrations_of
from onfly.spec.properties import PropertiesSpec

__all__ = ["asked_properties", "measure_model"]

logger = logging.getLogger(__name__)


def asked_properties(spec: PropertiesSpec, seed: int = 0) -> list[Property]:
    """Return the properties that settings ask for.

    Parameters
    ----------
    spec
        The settings.
    seed
        Of the MD.

    Returns
    -------
    list of Property
        In the order of the settings.

    Examples
    --------
    >>> [p.kind for p in asked_properties(PropertiesSpec(kinds=["eos", "elastic"]))]
    ['eos', 'elastic']
    """
    known: dict[str, Property] = {
        "eos": EquationOfStateFit(fmax=spec.fmax),
        "elastic": Elastic(fmax=spec.fmax),
        "phonon": Phonons(min_length=spec.supercell),
        "md": Dynamics(
            temperature=spec.temperature,
            n_steps=spec.n_steps,
            time_step=spec.time_step,
            interval=min(10, spec.n_steps // 20),
            min_length=spec.supercell,
            seed=seed,
        ),
    }
    return [known[kind] for kind in spec.kinds]


def measure_model(
    doc: FineTunedModelDoc,
    store: ArtifactStore,
    spec: PropertiesSpec,
    *,
    structure: Structure | Molecule | None = None,
    label_maker: Maker | None = None,
    device: str = "cpu",
    foundation_model: str | None = None,
    trust_pickle: bool = False,
) -> PropertiesDoc:
    """Measure properties by a model, its foundation and, if asked for, the labeller.

    Parameters
    ----------
    doc
        The model.
    store
        Where its weights are.
    spec
        What is measured, and how.
    structure
        The crystal; None takes that of the model.
    label_maker
        The labeller; None leaves it out. It is called in this process, its labels go to the store
        of labels and are not computed twice.
    device, foundation_model, trust_pickle
        As of `onfly.library.loading.build_calculator`.

    Returns
    -------
    PropertiesDoc
        Each value with its unit.

    Raises
    ------
    ValueError
        If no property is asked for, or the structure is no crystal of a small enough cell.
    NotRelaxedError
        If the model does not relax the structure.
    EnergyScaleError
        If the structure is of another composition.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> library = ModelLibrary.from_settings()
    >>> model = library.latest("CuAu")
    >>> measure_model(model, library.artifact_store, PropertiesSpec())
    Traceback (most recent call last):
        ...
    ValueError: no property is asked for: name some of eos, elastic, phonon, md
    """
    properties = asked_properties(spec, doc.seed)
    if not properties:
        raise ValueError("no property is asked for: name some of eos, elastic, phonon, md")
    calculator = build_calculator(
        doc, store, device, foundation_model=foundation_model, trust_pickle=trust_pickle
    )
    labeller = None
    if label_maker is not None:
        folder = Path(store.root) / "runs" / doc.run_id / "properties"
        key = "e_fr_energy" if doc.spec is None else doc.spec["labels"]["energy_key"]
        labeller = LabelCalculator(label_maker, LabelStore(store.root / "labels"), folder, key)
    fields = force_fields(
        calculator, calibrations_of(doc), n_draws=spec.draws, seed=doc.seed, labeller=labeller
    )
    if not fields.draws:
        logger.warning(
            "the posterior of %s has no spread: properties get no error bars", doc.model_id
        )
    atoms = to_atoms(doc.structure if structure is None else structure)
    found = compare(fields, atoms, properties, fmax=spec.fmax, max_atoms=spec.max_atoms)
    found.model_id = doc.model_id
    return found
