"""Published MACE models as files for mace's ASE calculator and for LAMMPS.

Every member of the ensemble becomes a file of its own: the mean of the members' energies is no
energy of their mean weights. ``MACECalculator(model_paths=[...])`` takes all files as a committee,
whose mean is that of the library's calculator.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from ase.data import chemical_symbols

from onfly.artifacts import ArtifactStore
from onfly.artifacts.atomic import atomic_write
from onfly.bayes.heads import without_head
from onfly.library.energy_offset import EnergyOffset
from onfly.library.trust import named, refuse_untrusted
from onfly.schemas import FineTunedModelDoc

__all__ = ["export_mace"]

SUFFIX = {"mace": ".model", "lammps": ".model-lammps.pt"}  # those of mace's own commands


def export_mace(
    doc: FineTunedModelDoc,
    store: ArtifactStore,
    folder: str | Path,
    *,
    file_format: Literal["mace", "lammps"] = "mace",
    members: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    foundation_model: str | None = None,
    trust_pickle: bool = False,
) -> list[Path]:
    """Write members of a model fine-tuned from MACE as files that need nothing of this package.

    Energies are on the scale of the labels: the offset of the run is put into the energies of the
    isolated atoms, divided evenly over them, or by element where the model has aligned offsets.
    That is exact for the compound of the run, in a cell of any size, and without aligned offsets a
    convention for other compositions, which mace and LAMMPS do not refuse. The files know
    only the elements of the run. Uncertainties are not in them: calibration and heads stay behind.

    Parameters
    ----------
    doc
        The model.
    store
        Where its weights are.
    folder
        Where the files are written.
    file_format
        ``"mace"`` for ``MACECalculator``, ``"lammps"`` for the ``mace`` pair style of LAMMPS
        (TorchScript, as ``mace_create_lammps_model`` writes it).
    members
        Numbers of the members; None writes all.
    dtype
        Precision of the files; None takes that of the foundation model.
    foundation_model
        Path of the foundation model on this machine, if it is another than on that of the run.
    trust_pickle
        Whether the foundation model may be a pickled file, which runs code when it is loaded.

    Returns
    -------
    list of Path
        ``member-I.model`` or ``member-I.model-lammps.pt``.

    Raises
    ------
    ValueError
        If the model is of another family, there is no such member, or the foundation model is
        another one.
    UntrustedFileError
        If the foundation model is a pickled file and ``trust_pickle`` is False.
    ArtifactError
        If weights are missing or were changed.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> library = ModelLibrary.from_settings()
    >>> export_mace(library.latest("CuAu"), library.artifact_store, "out")
    Traceback (most recent call last):
        ...
    ValueError: toy is not a MACE model: only those can be written as files for ...
    """
    # mace is optional
    from onfly.potentials.mace_export import lammps_file, load_template, model_file, with_parameters

    count = len(doc.ensemble.members)
    chosen = range(count) if members is None else members
    if wrong := [index for index in chosen if not 0 <= index < count]:
        raise ValueError(
            f"model {doc.model_id} has no member {wrong[0]}: it has {count}, numbered from 0"
        )
    name = foundation_model or doc.foundation_model
    pickled = refuse_untrusted(
        name,
        trust_pickle=trust_pickle,
        sha256=doc.foundation_sha256,
        source=f"model {doc.model_id}",
    )
    elements = [str(element) for element in doc.elements or []]
    template = load_template(named(name, pickled), elements, doc.foundation_sha256)
    shift = _shift(EnergyOffset.from_document(doc), template)
    write = lammps_file if file_format == "lammps" else model_file
    paths = []
    for index in chosen:
        params = without_head(store.load_tensors(doc.ensemble.members[index]))
        model = with_parameters(template, params, shift, dtype)
        path = Path(folder).absolute() / f"member-{index}{SUFFIX[file_format]}"
        atomic_write(path, write(model))
        paths.append(path)
    return paths


def _shift(offset: EnergyOffset, template: Any) -> Any:
    """Return what is added to the energies of isolated atoms: a number, or one for each element."""
    if offset.per_element is None:
        return -offset.value / offset.n_atoms
    symbols = [chemical_symbols[int(number)] for number in template.atomic_numbers]
    shifts = offset.per_atom(symbols)
    return torch.tensor([-shifts[symbol] for symbol in symbols], dtype=torch.float64)
