"""Every document that is written says its version, and those of a later one are refused."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError
from pymatgen.core import Structure

import onfly.schemas
from onfly.artifacts import ArtifactError, RunWorkspace
from onfly.artifacts.seal import sealed, unsealed
from onfly.cli.start_file import Start, read_start, write_start
from onfly.flows.manifest import CampaignManifest, read_manifest
from onfly.schemas import FineTunedModelDoc
from onfly.schemas.version import DOC_VERSION, check_version
from onfly.settings import get_settings
from onfly.testing.models import crystal, toy_label, toy_model, toy_run

LATER = "9.0"


def documents():
    found = [getattr(onfly.schemas, name) for name in onfly.schemas.__all__]
    models = [c for c in found if isinstance(c, type) and issubclass(c, BaseModel)]
    return [c for c in models if "doc_type" in c.model_fields]


@pytest.mark.parametrize("document", [*documents(), CampaignManifest], ids=lambda c: c.__name__)
def test_every_document_has_a_version(document):
    assert "doc_version" in document.model_fields


def test_what_is_written_says_it():
    root = get_settings().ARTIFACT_DIR
    for document in (toy_run(), toy_run().posterior, toy_label()):
        assert json.loads(document.model_dump_json())["doc_version"] == DOC_VERSION
    assert toy_model(root).ensemble.doc_version == DOC_VERSION
    workspace = RunWorkspace(root, "r")
    write_start(workspace, Start((crystal(),)))
    assert json.loads((workspace.folder / "start.json").read_text())["doc_version"] == DOC_VERSION
    assert isinstance(read_start(workspace).structures[0], Structure)


def test_a_model_without_one_is_of_0_1():
    content = toy_model(get_settings().ARTIFACT_DIR).model_dump(mode="json")
    del content["doc_version"]
    assert FineTunedModelDoc.model_validate(content).doc_version == "0.1"


@pytest.mark.parametrize("document", [toy_run, toy_label])
def test_a_later_document_is_refused_with_what_to_do(document):
    made = document()
    content = json.loads(made.model_dump_json()) | {"doc_version": LATER}
    with pytest.raises(ValidationError, match=f"version {LATER}.*install a later onfly"):
        type(made).model_validate(content)


def test_later_files_are_refused():
    root = get_settings().ARTIFACT_DIR
    workspace = RunWorkspace(root, "r")
    write_start(workspace, Start((crystal(),)))
    workspace.write_state(toy_run("r"))
    CampaignManifest(campaign="c", target="local").write(root)
    files = [workspace.folder / "start.json", workspace.folder / "run.json"]
    files.append(root / "campaigns" / "c.json")
    for path in files:
        later = unsealed(path.read_bytes()) | {"doc_version": LATER}
        path.write_bytes(sealed(later) if path.parent == workspace.folder else _plain(later))
    for read in (read_start, RunWorkspace.read_state):
        with pytest.raises(ArtifactError, match="install a later onfly"):
            read(workspace)
    with pytest.raises(ValueError, match="install a later onfly"):
        read_manifest(root, "c")


def _plain(content):
    return json.dumps(content).encode()


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_known_versions(version):
    assert check_version(version) == version


def test_no_version():
    with pytest.raises(ValueError, match="no version"):
        check_version("new")
