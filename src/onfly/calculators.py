"""ASE calculators of fine-tuned models, also for atomate2's force-field makers.

``ForceFieldMDMaker(force_field_name={"@module": "onfly.calculators", "@callable":
"load_calculator"}, calculator_kwargs={"model_id": ...})`` runs a published model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onfly.library.calculator import PosteriorCalculator
from onfly.library.energy_offset import EnergyScaleError
from onfly.library.loading import build_calculator, find_model
from onfly.library.models import ModelLibrary
from onfly.library.trust import UntrustedFileError
from onfly.settings import get_settings

__all__ = [
    "EnergyScaleError",
    "PosteriorCalculator",
    "UntrustedFileError",
    "build_calculator",
    "find_model",
    "load_calculator",
]


def load_calculator(
    model_id: str | None = None,
    path: str | Path | None = None,
    device: str | None = None,
    **kwargs: Any,
) -> PosteriorCalculator:
    """Load the calculator of a published model by its id, or from a folder.

    Nothing is executed: weights are safetensors files, and a document that names a pickled
    foundation model is refused unless ``trust_pickle=True`` is given.

    Parameters
    ----------
    model_id
        Of a model in the library that the settings of this machine name.
    path
        Folder of a run, folder or JSON file of an exported model.
    device
        Torch device; None takes that of the settings.
    **kwargs
        ``foundation_model``, ``strategy``, ``trust_pickle``, ``energy_scale`` and ``weights`` of
        `build_calculator`.

    Raises
    ------
    ValueError
        If not exactly one of ``model_id`` and ``path`` is given.
    FileNotFoundError
        If there is no model at ``path``.
    LookupError
        If the library has no such model.
    UntrustedFileError
        If the foundation model is a pickled file and ``trust_pickle`` is not given.
    ArtifactError
        If the document or the weights are damaged or missing.

    Returns
    -------
    PosteriorCalculator
        With the results ``energy`` and ``energy_std`` (eV, of the cell, on the scale of the
        labels), ``forces`` (eV/Å, shape (N, 3)) and, for cells, ``stress`` (eV/Å³, Voigt order,
        shape (6,), positive under tension). ``calc.probability()`` is that of an energy error
        above the tolerance of the run.

    Examples
    --------
    >>> from ase import Atoms
    >>> atoms = Atoms("Cu2Au2", cell=[3.9] * 3, pbc=True,
    ...               scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    >>> atoms.calc = load_calculator(model_id="CuAu-f716e6da3f4e")
    >>> atoms.get_forces().shape, atoms.get_stress().shape
    ((4, 3), (6,))
    >>> atoms.calc.results["energy_std"] > 0
    True
    """
    if (model_id is None) == (path is None):
        raise ValueError("load_calculator needs either model_id or path")
    settings = get_settings()
    device = device or settings.DEVICE
    if model_id is not None:
        return ModelLibrary.from_settings(settings).calculator(model_id, device, **kwargs)
    assert path is not None
    doc, store = find_model(Path(path).expanduser(), settings.ARTIFACT_DIR)
    return build_calculator(doc, store, device, **kwargs)
