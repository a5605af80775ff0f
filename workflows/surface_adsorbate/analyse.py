"""Surface with adsorbate: how large and how well predicted the errors are.

    python analyse.py RUN_FOLDER --out NAME

Writes NAME.png and NAME.json: errors of predictions made before their label was learned, the
foundation model's errors on the same structures, and the AUC-ROC of the predicted std as a detector
of errors above 1 kcal/mol. Learning curves on static data, as in the paper, are made by
../molecules/learn.py from the labels (`onfly models export-labels`, or any extended xyz file).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from onfly.analysis.metrics import auc_roc, rmse
from onfly.report import load_run
from onfly.units import EV_PER_KCAL_MOL as KCAL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("surface"))
    arguments = parser.parse_args()
    data = load_run(arguments.folder)
    labels = data.judged
    errors = np.array([label.energy_error for label in labels])
    foundation = np.array([label.foundation_error for label in labels], dtype=float)
    stds = np.array([label.predicted_std for label in labels])
    audit = np.array([label.is_audit for label in labels])
    summary = {
        "run_id": data.identity.run_id,
        "n_labels": len(data.labels),
        "n_audits": int(audit.sum()),
        "rmse_kcal_mol": rmse(errors) / KCAL,
        "rmse_at_audits_kcal_mol": rmse(errors[audit]) / KCAL if audit.any() else None,
        "foundation_rmse_kcal_mol": rmse(foundation) / KCAL,
        "auc_roc_1_kcal_mol": auc_roc(errors, stds, KCAL),
        "share_of_errors_beyond_threshold": float((np.abs(errors) > data.threshold).mean()),
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    steps = np.array([label.step for label in labels])
    left.semilogy(steps, np.abs(foundation) / KCAL, "x", color="0.6", label="foundation model")
    left.semilogy(steps, np.abs(errors) / KCAL, "o", ms=3, label="before learning")
    left.axhline(data.threshold / KCAL, color="k", lw=0.8, label="threshold")
    left.set(xlabel="MD step", ylabel="|error| (kcal/mol)")
    left.legend()
    right.loglog(stds / KCAL, np.abs(errors) / KCAL, "o", ms=3)
    right.set(xlabel="predicted std (kcal/mol)", ylabel="|error| (kcal/mol)")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out.with_name(arguments.out.name + ".png"), dpi=150)
    text = json.dumps(summary, indent=1)
    arguments.out.with_name(arguments.out.name + ".json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
