"""A class model as a foundation: what the family ``class`` of `onfly.potentials` calls.

The network is that of the foundation from which the class was fitted; only its weights are
others. All elements of the foundation are kept, so that one file serves every compound.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from onfly.classes.document import ClassModelDoc
from onfly.classes.library import document_path, find_class
from onfly.classes.names import ClassModelError, ClassName
from onfly.potentials.base import Defaults, Params, Potential
from onfly.potentials.families import TRUST, families
from onfly.potentials.foundation import check_foundation, describe_foundation, parse_foundation
from onfly.potentials.registry import load_foundation
from onfly.potentials.trust import file_sha256
from onfly.settings import get_settings
from onfly.spec import FoundationSpec

__all__ = [
    "class_elements",
    "class_problems",
    "class_stamp",
    "fixed_name",
    "load",
    "reweighed",
    "with_trust",
]


def load(
    name: str,
    elements: Sequence[str] | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    dtype: torch.dtype | None = None,
    *,
    trust_pickle: bool = False,
    fast_kernels: bool = True,
) -> Potential:
    """Load a class model.

    Whether a pickled foundation may be read is not for the document to say: it comes from a
    database.

    Raises
    ------
    ClassModelError
        If there is no such class or version, the store does not answer, the weights are missing
        or were changed, or the foundation below is another one than at the fit.
    ValueError
        If the foundation does not know an element, or is a pickle and ``trust_pickle`` is False.
    """
    doc, files = find_class(ClassName.parse(name))
    potential = load_foundation(
        with_trust(doc.foundation, trust_pickle),
        elements=None,
        device=device,
        dtype=dtype,
        fast_kernels=fast_kernels,
    )
    if doc.foundation_sha256 is not None and potential.sha256 != doc.foundation_sha256:
        raise ClassModelError(
            f"class model {doc.class_id} was fitted from another {doc.foundation.source} than the "
            f"one here: sha256 is {potential.sha256}, recorded was {doc.foundation_sha256}"
        )
    unknown = sorted(set(elements or ()) - set(potential.elements))
    if unknown:
        raise ValueError(
            f"{name} does not know the element(s) {', '.join(unknown)}, since "
            f"{doc.foundation.source} does not"
        )
    try:
        params = files.load_tensors(doc.weights_file, device)
    except ValueError as error:  # an ArtifactError
        raise ClassModelError(f"class model {doc.class_id}: {error}") from None
    return reweighed(potential, params, _defaults(doc, potential), doc.weights_file.sha256)


def reweighed(
    potential: Potential, params: Params, defaults: Defaults, sha256: str | None = None
) -> Potential:
    """Return a potential with other weights in the place of its pretrained ones.

    Parameters
    ----------
    potential
        Not changed.
    params
        All of its parameters.
    defaults
        Prior width, step sizes and calibration that belong to the new weights.
    sha256
        Of the file that they came from.

    Raises
    ------
    ClassModelError
        If names or shapes differ.
    """
    own = potential.parameters()
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    if shapes != {name: tuple(value.shape) for name, value in params.items()}:
        raise ClassModelError(
            f"the weights are not those of the network of {potential.name}: its parameters have "
            "other names or shapes; it was made with another version of the package, perhaps"
        )
    kept = {name: params[name].detach().to(value) for name, value in own.items()}
    other = copy.copy(potential)
    other.parameters = partial(_clones, kept)  # type: ignore[method-assign]
    other.defaults = defaults
    other.sha256 = sha256
    return other


def _clones(params: Params) -> Params:
    return {name: value.clone() for name, value in params.items()}


def _defaults(doc: ClassModelDoc, potential: Potential) -> Defaults:
    return replace(
        potential.defaults,
        prior_std=doc.prior_std,
        shape=doc.calibration_shape,
        rate=doc.calibration_rate,
        source=f"class model {doc.class_id}"
        + (", measured by leaving compounds out" if doc.measured else ", as of its foundation"),
    )


def with_trust(foundation: FoundationSpec, trusted: bool) -> FoundationSpec:
    """Return a foundation of which a pickled file may be read, or may not."""
    options = {key: value for key, value in foundation.options.items() if key != TRUST}
    family = families()[parse_foundation(foundation.evolve(options=options)).family]
    if trusted and TRUST in family.options:
        options[TRUST] = True
    return foundation.evolve(options=options)


def class_elements(name: str) -> tuple[str, ...] | None:
    """Return the elements that a class model knows, if that is known without loading it."""
    doc, _ = find_class(ClassName.parse(name), weights=False)
    return describe_foundation(with_trust(doc.foundation, False)).elements


def class_problems(name: str, options: Mapping[str, Any]) -> list[str]:
    """Return what would keep a class model from being loaded, a sentence each."""
    try:
        doc, files = find_class(ClassName.parse(name))
    except ValueError as error:
        return [str(error)]
    below = with_trust(doc.foundation, options.get(TRUST) is True)
    problems = [f"{name}: {problem}" for problem in check_foundation(below)]
    path = Path(files.path(doc.weights_file))
    if file_sha256(path) != doc.weights_file.sha256:
        problems.append(
            f"{name}: {path} was changed: remove it, and it is taken from the store again"
        )
    return problems


def class_stamp(name: str) -> tuple[str, int] | None:
    """Return place and time of a version's document on this machine; None if it is not here."""
    parsed = ClassName.parse(name)
    path = document_path(get_settings().ARTIFACT_DIR, parsed.name, parsed.version or 0)
    try:
        return str(path), path.stat().st_mtime_ns
    except OSError:
        return None


def fixed_name(name: str) -> str:
    """Return the name of the version that is the newest now; a version stays as it is.

    Raises
    ------
    ClassModelError
        If there is none.
    """
    parsed = ClassName.parse(name)
    if parsed.version is None:
        doc, _ = find_class(parsed, weights=False)
        parsed = ClassName(doc.name, doc.version)
    return str(parsed)
