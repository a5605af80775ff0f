"""ASE calculators of fine-tuned models, also for atomate2's force-field makers.

``ForceFieldMDMaker(force_field_name={"@module": "onfly.calculators", "@callable":
"load_calculator"}, calculator_kwargs={"model_id": ...})`` runs a published model.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from pymatgen.core import Composition

from onfly.artifacts import ArtifactStore, load_ensemble
from onfly.bayes.calibration import Calibration
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import posterior_from_dict
from onfly.dynamics.predictor import Predictor
from onfly.potentials import load_foundation
from onfly.schemas import FineTunedModelDoc, RunDoc
from onfly.settings import get_settings

__all__ = ["PosteriorCalculator", "build_calculator", "find_model", "load_calculator"]

logger = logging.getLogger(__name__)


class PosteriorCalculator(Calculator):
    """Mean and uncertainty of a fine-tuned ensemble.

    Results are ``energy`` and ``free_energy`` (eV, on the scale of the labels), ``forces`` (eV/Å),
    ``stress`` (eV/Å³, Voigt, tension positive; periodic cells only), ``energy_std`` (eV, the std
    of the calibrated Student-t, which contains the errors seen in the run), and, computed only
    where asked for (``calculator.get_property("forces_std", atoms)``), ``forces_std`` (eV/Å, of
    every component) and ``stress_std`` (eV/Å³, Voigt); the calibration, which knows energies only,
    does not enter these.

    Parameters
    ----------
    predictor
        The ensemble.
    offset
        Foundation minus label energy scale, eV.
    calibration
        Of the run.
    threshold
        Of the run, eV: default of `probability`.
    composition
        Of the compound it was trained on; another one gives a warning.
    name
        Of the model, for messages.
    """

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]
        "energy",
        "free_energy",
        "forces",
        "stress",
        "energy_std",
        "forces_std",
        "stress_std",
    ]

    def __init__(
        self,
        predictor: Predictor,
        *,
        offset: float,
        calibration: Calibration,
        threshold: float,
        composition: Composition | None = None,
        name: str = "fine-tuned model",
    ) -> None:
        super().__init__()
        self.predictor = predictor
        self.offset = offset
        self.calibration = calibration
        self.threshold = threshold
        self.composition = composition
        self.model_name = name
        self._raw_std = math.nan
        self._warned = False

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Evaluate a configuration; see `ase.calculators.calculator.Calculator`.

        Raises
        ------
        ValueError
            If there are elements the model does not know.
        """
        super().calculate(atoms, properties, system_changes)
        current = self.atoms
        assert isinstance(current, Atoms)
        self._check_elements(current)
        periodic = bool(current.pbc.all())
        # it costs several times as much as the forces: see `Predictor.predict`
        asked = not {"forces_std", "stress_std"}.isdisjoint(properties)
        prediction = self.predictor.predict(current, stress=periodic, forces_std=asked)
        energy = prediction.energy - self.offset
        self._raw_std = prediction.energy_std
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": prediction.forces,
            "energy_std": prediction.energy_std * self._std_factor,
        }
        if prediction.forces_std is not None:
            self.results["forces_std"] = prediction.forces_std
        if prediction.stress_std is not None:
            self.results["stress_std"] = full_3x3_to_voigt_6_stress(prediction.stress_std)
        if periodic and prediction.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress)

    def probability(self, threshold: float | None = None) -> float:
        """Return the probability that the last energy is wrong by more than a threshold (eV).

        Raises
        ------
        RuntimeError
            If nothing was calculated yet.
        """
        if "energy" not in self.results:
            raise RuntimeError("no energy was calculated yet: call atoms.get_potential_energy()")
        limit = self.threshold if threshold is None else threshold
        return self.calibration.exceedance(self._raw_std, limit)

    @property
    def _std_factor(self) -> float:
        """Std of the Student-t per uncalibrated std; infinite with 2 degrees of freedom or less."""
        dof = self.calibration.dof
        if dof <= 2.0:
            return math.inf
        return self.calibration.scale_factor * math.sqrt(dof / (dof - 2.0))

    def _check_elements(self, atoms: Atoms) -> None:
        known = self.predictor.potential.elements
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(known))
        if unknown:
            raise ValueError(
                f"{self.model_name} knows {', '.join(sorted(known))} and cannot describe "
                f"{', '.join(unknown)}: fine-tune a model for this compound"
            )
        if self.composition is not None and not self._warned:
            formula = Composition(atoms.get_chemical_formula()).reduced_formula
            if formula != self.composition.reduced_formula:
                self._warned = True
                logger.warning(
                    "%s was fine-tuned on %s and is used for %s: its uncertainties were not "
                    "tested there",
                    self.model_name,
                    self.composition.reduced_formula,
                    formula,
                )


def build_calculator(
    doc: FineTunedModelDoc | RunDoc,
    store: ArtifactStore,
    device: str = "cpu",
    *,
    foundation_model: str | None = None,
    strategy: str | None = None,
) -> PosteriorCalculator:
    """Build the calculator of a published model, or of the present state of a run.

    Parameters
    ----------
    doc
        The model or the run.
    store
        Where its weights are.
    device
        Torch device.
    foundation_model
        Path of the foundation model on this machine, if it is another than on that of the run.
    strategy
        How members are evaluated (see `Predictor`); None takes that of the run.

    Raises
    ------
    ValueError
        If the run has no ensemble yet, or the foundation model is another one.
    ArtifactError
        If weights are missing or were changed.
    """
    name = doc.model_id if isinstance(doc, FineTunedModelDoc) else f"run {doc.run_id}"
    if doc.ensemble is None or doc.energy_offset is None:
        raise ValueError(f"{name} has no ensemble yet: its first label has not come")
    elements = tuple(sorted({str(element) for element in doc.elements or []}))
    potential = load_foundation(
        foundation_model or doc.foundation_model, elements=elements, device=device
    )
    recorded = getattr(doc, "foundation_sha256", None)
    found = getattr(potential, "sha256", None)
    if recorded and found and recorded != found:
        raise ValueError(
            f"{name} was fine-tuned from another foundation model than {potential.name}: sha256 "
            f"is {found}, recorded was {recorded}"
        )
    ensemble = doc.ensemble
    predictor = Predictor(
        potential,
        posterior_from_dict({"kind": ensemble.posterior, **ensemble.settings}),
        load_ensemble(store, ensemble, device),
        LikelihoodScales.for_threshold(doc.threshold_ev, doc.settings.get("energy_std")),
        strategy=strategy or ensemble.strategy,  # type: ignore[arg-type]
    )
    return PosteriorCalculator(
        predictor,
        offset=doc.energy_offset,
        calibration=Calibration(**doc.calibration.model_dump()),
        threshold=doc.threshold_ev,
        composition=doc.composition,
        name=name,
    )


def load_calculator(
    model_id: str | None = None,
    path: str | Path | None = None,
    device: str | None = None,
    **kwargs: Any,
) -> PosteriorCalculator:
    """Load the calculator of a published model by its id, or from a folder.

    Parameters
    ----------
    model_id
        Of a model in the library that the settings of this machine name.
    path
        Folder of a run, folder or JSON file of an exported model.
    device
        Torch device; None takes that of the settings.
    **kwargs
        ``foundation_model`` and ``strategy`` of `build_calculator`.

    Raises
    ------
    ValueError
        If not exactly one of ``model_id`` and ``path`` is given.
    FileNotFoundError
        If there is no model at ``path``.
    LookupError
        If the library has no such model.
    """
    if (model_id is None) == (path is None):
        raise ValueError("load_calculator needs either model_id or path")
    settings = get_settings()
    device = device or settings.DEVICE
    if model_id is not None:
        from onfly.library import ModelLibrary

        return ModelLibrary.from_settings(settings).calculator(model_id, device, **kwargs)
    assert path is not None
    doc, store = find_model(Path(path).expanduser(), settings.ARTIFACT_DIR)
    return build_calculator(doc, store, device, **kwargs)


def find_model(path: Path, artifact_dir: Path) -> tuple[FineTunedModelDoc | RunDoc, ArtifactStore]:
    """Return the document at a path, and the store that has its weights."""
    folder = path if path.is_dir() else path.parent
    doc: FineTunedModelDoc | RunDoc
    if path.is_file():
        doc = FineTunedModelDoc.model_validate_json(path.read_text())
    elif (path / "model.json").is_file():
        doc = FineTunedModelDoc.model_validate_json((path / "model.json").read_text())
    elif (path / "run.json").is_file():
        doc = RunDoc.model_validate_json((path / "run.json").read_text())
        logger.warning("run %s is not published: its accuracy may be unproven", doc.run_id)
    else:
        raise FileNotFoundError(
            f"no model at {path}: give the folder of a run (with model.json or run.json), or the "
            "folder or JSON file of an exported model"
        )
    # weights lie beside an exported model, two levels above a run's folder, or in our directory
    candidates = [folder.absolute(), folder.absolute().parent.parent, artifact_dir]
    stores = [ArtifactStore(root) for root in candidates]
    for store in stores:
        if doc.ensemble is not None and all(store.exists(ref) for ref in doc.ensemble.members):
            return doc, store
    return doc, stores[-1]
