"""What was submitted for a campaign, and where: kept next to its runs, so that status knows all."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from onfly.artifacts.atomic import atomic_write
from onfly.schemas.version import DOC_VERSION, DocVersion

__all__ = ["CampaignManifest", "Target", "manifest_path", "read_manifest"]

Target = Literal["fireworks", "remote", "local"]


class CampaignManifest(BaseModel):
    """The compounds of a campaign and the manager that runs them."""

    doc_version: DocVersion = DOC_VERSION
    campaign: str
    target: Target
    launchpad: str | None = Field(None, description="File of the LaunchPad.")
    project: str | None = Field(None, description="Project of jobflow-remote.")
    compounds: dict[str, str] = Field(default_factory=dict, description="Formula by run_id.")

    def write(self, artifact_dir: Path) -> None:
        """Replace the file."""
        path = manifest_path(artifact_dir, self.campaign)
        atomic_write(path, self.model_dump_json(indent=1).encode())


def manifest_path(artifact_dir: Path, campaign: str) -> Path:
    """Return the path of a campaign's file."""
    return Path(artifact_dir) / "campaigns" / f"{campaign}.json"


def read_manifest(artifact_dir: Path, campaign: str) -> CampaignManifest | None:
    """Return what was submitted, or None if nothing was.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    path = manifest_path(artifact_dir, campaign)
    if not path.is_file():
        return None
    try:
        return CampaignManifest.model_validate_json(path.read_text())
    except ValidationError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
