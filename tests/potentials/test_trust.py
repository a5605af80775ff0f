"""Pickled model files are read only if known or trusted, and never after a conversion."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from onfly.cli.convert import convert_command
from onfly.potentials import check_foundation, describe_foundation, load_foundation, trust
from onfly.potentials.convert import convert
from onfly.potentials.converted import read_header
from onfly.potentials.sniffing import family_of_file
from onfly.potentials.trust import PickleRefusedError, file_sha256


class Evil:
    """Leaves a file behind when it is unpickled, and looks like a MACE model from outside."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "executed"


@pytest.fixture
def evil(tmp_path, mark):
    path = tmp_path / "evil.model"
    torch.save({"mace.modules.models": Evil(mark)}, path)
    return path


def test_an_unknown_pickle_is_refused_with_what_to_do(evil, mark):
    pytest.importorskip("mace", exc_type=ImportError)
    for what in (evil, {"family": "mace", "source": str(evil)}):
        with pytest.raises(PickleRefusedError, match=f"onfly models convert {evil}"):
            load_foundation(what)
    (problem,) = check_foundation(evil)
    assert "trust_pickle: true" in problem
    assert not mark.exists()
    # the yes is what makes the difference
    with pytest.raises(ValueError, match="not a MACE energy model"):
        load_foundation({"family": "mace", "source": evil, "options": {"trust_pickle": True}})
    assert mark.exists()


def test_looking_into_files_executes_nothing(evil, mark, tmp_path):
    assert family_of_file(evil) == "mace"
    assert describe_foundation(evil).trusted is False
    legacy = tmp_path / "legacy.pth"
    torch.save(
        {"model_state_dict": {}, "config": Evil(mark)},
        legacy,
        _use_new_zipfile_serialization=False,
    )
    assert family_of_file(legacy) == "sevennet"
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "family"),
    [
        ({"model_state_dict": {}, "config": {}, "epoch": 3}, "sevennet"),
        ({"state_dict": {}, "config": {"model": "equiformer_v2"}}, "equiformer_v2"),
        ({"weights": 1}, None),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_ambiguous_endings_are_resolved_by_the_content(tmp_path, content, family, suffix):
    path = tmp_path / f"model{suffix}"
    torch.save(content, path)
    assert family_of_file(path) == family
    if family is None:
        with pytest.raises(ValueError, match=r"say so, by foundation: \{family"):
            describe_foundation(path)
    else:
        assert describe_foundation(path).family == family


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\x00" * 64, b"\xff" * 9 + b"{", b"{}", b"PK\x03\x04"]
)
def test_files_of_no_family(tmp_path, data):
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    assert family_of_file(path) is None


def test_packages_of_nequip_are_known_by_their_members(tmp_path):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some/nequip/nn/model.py", "")
    assert family_of_file(path) == "nequip"


def test_a_known_file_needs_no_yes(mace_file, monkeypatch):
    with pytest.raises(PickleRefusedError):
        load_foundation(mace_file)
    monkeypatch.setitem(trust.KNOWN_FILES, file_sha256(mace_file), "random")
    assert load_foundation(mace_file).family == "mace"
    assert check_foundation(mace_file, ["Na"]) == []


def command(*arguments):
    app = typer.Typer()
    app.command()(convert_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def converted(mace_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    done = command(mace_file, folder)
    assert done.exit_code == 0, done.output
    assert done.output.split() == [str(folder / "random.safetensors")]
    return folder / "random.safetensors"


def test_a_converted_model_is_the_same_and_never_unpickled(
    mace_file, converted, crystal, monkeypatch
):
    before = load_foundation(
        {"family": "mace", "source": mace_file, "options": {"trust_pickle": True}}
    )
    monkeypatch.setattr(torch, "load", None)
    after = load_foundation(converted)
    assert after.elements == before.elements
    assert after.sha256 == file_sha256(converted)
    found = [
        p.evaluate(p.parameters(), p.collate([p.graph(crystal)]), stress=True)
        for p in (before, after)
    ]
    torch.testing.assert_close(found[1].energy, found[0].energy, rtol=1e-12, atol=0)
    torch.testing.assert_close(found[1].forces, found[0].forces, rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1].stress, found[0].stress, rtol=0, atol=1e-12)
    for name, tensor in before.parameters().items():
        assert torch.equal(tensor, after.parameters()[name])


def test_a_converted_model_is_checked_without_loading(converted):
    found = describe_foundation(converted)
    assert found.elements == ("H", "C", "O", "Na", "Cl")
    assert (found.pickled, found.trusted) == (False, True)
    assert "Si" in check_foundation(converted, ["Na", "Si"])[0]


def test_header_names_the_original(converted, mace_file):
    header = read_header(converted)
    assert header.source_sha256 == file_sha256(mace_file)
    assert header.source == "random.model"


def test_other_classes_than_mace_has_are_not_built(converted, tmp_path):
    data = converted.read_bytes()
    for old, new in (
        (b"RealAgnosticResidualInteractionBlock", b"os.system"),
        (b'\\"silu\\"', b'\\"eval\\"'),
    ):
        assert old in data
        path = tmp_path / "changed.safetensors"
        path.write_bytes(data.replace(old, new.ljust(len(old), b"_")))
        with pytest.raises(ValueError, match="knows no"):
            load_foundation(path)


def test_what_cannot_be_converted_is_explained(evil, converted, mace_file, tmp_path):
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "nothing.model")
    with pytest.raises(ValueError, match="converted model already"):
        convert(converted, tmp_path / "x.safetensors")
    with pytest.raises(FileExistsError, match="exists already"):
        convert(mace_file, converted)
    with pytest.raises(ValueError, match="not a MACE energy model"):
        convert(evil, tmp_path / "y.safetensors")
    torch.save({"state_dict": {}, "config": "equiformer_v2"}, tmp_path / "e.pt")
    with pytest.raises(ValueError, match="a file of equiformer_v2; files of mace can"):
        convert(tmp_path / "e.pt")
    assert not list(tmp_path.glob(".*part"))


def test_command_explains_what_went_wrong(mace_file, converted):
    again = command(mace_file, converted)
    assert again.exit_code == 2
    assert "exists already" in again.output


PROTECTED = """
import io, os, pickle, sys, torch
before = torch.load
from onfly.potentials import load_foundation
load_foundation({spec})
assert torch.load is before
assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
class Some: pass
buffer = io.BytesIO()
torch.save(Some(), buffer)
buffer.seek(0)
try:
    torch.load(buffer)
except pickle.UnpicklingError:
    sys.exit(0)
sys.exit("unpickled")
"""


@pytest.mark.parametrize(
    ("family", "package"),
    [
        ("chgnet-0.3.0", "chgnet"),
        ("mace", "mace"),
        pytest.param("sevennet-0", "sevenn", marks=pytest.mark.nequip),
    ],
)
def test_loading_leaves_torchs_protection_on(family, package, request):
    pytest.importorskip(package, exc_type=ImportError)
    spec = repr(family)
    if family == "mace":
        path = str(request.getfixturevalue("mace_file"))
        spec = repr({"family": "mace", "source": path, "options": {"trust_pickle": True}})
    env = {k: v for k, v in os.environ.items() if k != "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"}
    done = subprocess.run(
        [sys.executable, "-c", PROTECTED.replace("{spec}", spec)],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
