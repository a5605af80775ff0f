"""Whatever is read, nothing that it names is run: no pickle, no command, no foreign import."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from pymatgen.core import Structure

from onfly.artifacts.files import ArtifactError
from onfly.artifacts.seal import sealed
from onfly.artifacts.workspace import RunWorkspace
from onfly.cli.start_file import FILE, Start, read_start, write_start
from onfly.flows.structures import read_structures
from onfly.labels.errors import DamagedLabelError
from onfly.labels.store import LabelStore
from onfly.labels.stored import checksums, label_key
from onfly.library.documents import label_record
from onfly.schemas import LabelDoc
from onfly.schemas.foreign import ForeignObjectError, refuse_foreign
from onfly.spec.campaign import CampaignFile
from onfly.spec.yaml import load
from onfly.testing.models import toy_label
from tests.campaign.conftest import metals


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Return what a document puts in to have a module imported, and what then exists."""
    mark = tmp_path / "mark"
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "foreign_trap.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n"
        "class Trap:\n    @classmethod\n    def from_dict(cls, fields):\n        return cls()\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "foreign_trap", raising=False)
    return {"@module": "foreign_trap", "@class": "Trap"}, mark


def with_trap(structure, trap):
    content = structure.as_dict()
    content["sites"][0]["properties"] = {"magmom": trap}
    return content


def test_the_trap_works(trap):
    """Decoding it without a look is what must not happen."""
    content, mark = trap
    Structure.from_dict(with_trap(metals(1)[0], content))
    assert mark.exists()


def test_a_label_file(trap, tmp_path):
    content, mark = trap
    store = LabelStore(tmp_path / "labels")
    key = store.put(toy_label())
    (path,) = (tmp_path / "labels" / "objects").glob("*/*.json")
    document = json.loads(path.read_text())
    fields = document["label"]
    fields["structure"]["sites"][0]["properties"] = {"magmom": content}
    document |= {"checksums": checksums(fields), "key": label_key(fields)}
    forged = store._path(document["key"])  # with checksums that fit
    forged.parent.mkdir(exist_ok=True)
    forged.write_text(json.dumps(document))
    with pytest.raises(DamagedLabelError):
        store.get(document["key"])
    assert key in store
    assert not mark.exists()


def test_a_label_of_a_database(trap):
    content, mark = trap
    record = json.loads(json.dumps(label_record(toy_label()), default=str))
    record["structure"]["sites"][0]["properties"] = {"magmom": content}
    fields = {k: v for k, v in record.items() if k in LabelDoc.model_fields}
    with pytest.raises(ValueError, match="names objects of foreign_trap"):
        LabelDoc.model_validate(fields)
    assert not mark.exists()


def test_the_start_of_a_run(trap, tmp_path):
    content, mark = trap
    workspace = RunWorkspace(tmp_path, "r")
    write_start(workspace, Start((metals(1)[0],)))
    path = workspace.folder / FILE
    document = json.loads(path.read_text())
    document["structures"] = [with_trap(metals(1)[0], content)]
    del document["sha256"]
    path.write_bytes(sealed(document))  # who changes a file can change its digest
    with pytest.raises(ArtifactError, match="names objects of foreign_trap"):
        read_start(workspace)
    assert not mark.exists()


def test_a_list_of_structures(trap, tmp_path):
    content, mark = trap
    (tmp_path / "list.json").write_text(json.dumps([with_trap(metals(1)[0], content)]))
    (tmp_path / "campaign.yaml").write_text(
        "campaign: c\nstructures: {pymatgen: list.json}\nfoundation_model: toy\n"
        "threshold: 1 meV\nlabeller: emt\nstages: [{n_steps: 1, temperature: 300}]\n"
    )
    config = load(tmp_path / "campaign.yaml", CampaignFile)
    with pytest.raises(ValueError, match="names objects of foreign_trap"):
        read_structures(config.structures, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [
        {"a": [{"@module": "os", "@callable": "system"}]},
        [[{"@module": "subprocess", "@class": "Popen", "args": ["touch", "x"]}]],
        {"@module": "pymatgen.corex", "@class": "Structure"},
    ],
)
def test_foreign_objects_are_found_wherever_they_are(value):
    with pytest.raises(ForeignObjectError):
        refuse_foreign(value)


def test_deep_documents_are_looked_through():
    value = {"@module": "os"}
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ForeignObjectError):
        refuse_foreign(value)
    while value and isinstance(value, list):  # taken apart, since deleting it recurses
        value = value.pop()


IMPORTS = """
import os, sys, importlib
name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
for module in sys.argv[1:]:
    importlib.import_module(module)
    assert name not in os.environ, module
import torch, io, pickle
class Evil:
    def __reduce__(self):
        return (os.mkdir, ("made",))
try:
    torch.load(io.BytesIO(pickle.dumps(Evil())))
except Exception:
    pass
assert not os.path.exists("made")
"""


def test_importing_onfly_leaves_the_protection_of_torch_on(tmp_path):
    modules = [
        "onfly", "onfly.potentials", "onfly.library", "onfly.calculators", "onfly.flows.finetune",
        "onfly.cli.run", "onfly.cli.models", "onfly.report",
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TORCH_")}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *modules],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
