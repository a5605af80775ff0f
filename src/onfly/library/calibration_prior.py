"""The calibration's prior from the errors of the models in a library."""

from __future__ import annotations

from onfly.bayes.calibration_prior import GammaPrior, fit_gamma_prior
from onfly.library.models import ModelLibrary

__all__ = ["learned_prior"]

_FIELDS = (
    "model_id", "run_id", "n_labels", "foundation_model", "ensemble.posterior",
    "calibration.n", "calibration.sum_z2",
)  # fmt: skip


def learned_prior(library: ModelLibrary, foundation_model: str, posterior: str) -> GammaPrior:
    """Return the Gamma prior over λ that the runs of a library teach.

    Of a run with several models the one with most labels counts: its calibration has all errors.

    Parameters
    ----------
    library
        Of published models.
    foundation_model
        Name of the foundation model: errors in units of their std are alike for one model.
    posterior
        Kind of posterior, such as ``"last_layer"``.

    Raises
    ------
    ValueError
        If too few runs fit.
    """
    newest: dict[str, dict] = {}
    for record in library.records(
        foundation_model=foundation_model, limit=0, properties=list(_FIELDS)
    ):
        if (record.get("ensemble") or {}).get("posterior") != posterior:
            continue
        known = newest.get(record["run_id"])
        if known is None or record["n_labels"] > known["n_labels"]:
            newest[record["run_id"]] = record
    found = [record["calibration"] for record in newest.values()]
    return fit_gamma_prior([c["n"] for c in found], [c["sum_z2"] for c in found])
