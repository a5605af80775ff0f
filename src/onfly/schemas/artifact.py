"""References to files of the artifact directory, by content."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from onfly.schemas.version import DOC_VERSION, DocVersion

__all__ = ["ArtifactRef", "EnsembleDoc"]


class ArtifactRef(BaseModel):
    """A file named by its sha256, relative to the artifact directory.

    Examples
    --------
    >>> ArtifactRef(path="md/0.safetensors", sha256="0" * 64, nbytes=812).path
    'md/0.safetensors'
    """

    model_config = ConfigDict(frozen=True)

    path: str = Field(description="Path relative to the artifact directory.")
    sha256: str = Field(description="Of the content, in hexadecimal.")
    nbytes: int = Field(description="Size in bytes.")


class EnsembleDoc(BaseModel):
    """The files of one generation of the posterior: one per member, and one for the rest.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> len(ModelLibrary.from_settings().latest("CuAu").ensemble.members)
    2
    """

    model_config = ConfigDict(frozen=True)

    doc_type: Literal["ensemble"] = "ensemble"
    doc_version: DocVersion = DOC_VERSION
    generation: int = Field(description="Number of updates so far.")
    posterior: str = Field(description="Kind of posterior, such as sghmc or last_layer.")
    members: list[ArtifactRef] = Field(description="safetensors files of the members' parameters.")
    extra: ArtifactRef | None = Field(None, description="Tensors of the posterior besides members.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Of the posterior.")
    strategy: str = Field("sequential", description="How the members are evaluated in MD.")
    n_labels: int = Field(0, description="Labels it was trained on.")
    n_cores: int | None = Field(
        None, description="Cores that its update could use; the numbers do not depend on them."
    )
