"""Foundations that are not there, or do not know the compound."""

from __future__ import annotations

import pickle
import zipfile
from io import BytesIO

from tests.faults.inputs.case import COPPER, Case, settings

__all__ = ["FOUNDATIONS"]


def _named(name: str, value: str, says: str, **files: bytes | str) -> Case:
    text = settings({"foundation_model": value})
    return Case(name, says, {"run.yaml": text} | {k.replace("_", "."): v for k, v in files.items()})


def _table(name: str, value: str, says: str, **files: bytes | str) -> Case:
    text = settings({"foundation_model": None, "foundation": value})
    return Case(name, says, {"run.yaml": text} | {k.replace("_", "."): v for k, v in files.items()})


def _zip() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
    return file.getvalue()


_PICKLE = pickle.dumps({"state": [1, 2, 3]})
FOUNDATIONS = (
    _named("misspelt", "chgnet-0.3.1", "did you mean chgnet-0.3.0"),
    _named("misspelt mace", "mace-mp-medum", "did you mean mace-mp-medium"),
    _named("misspelt toy", "tooy", "unknown foundation model 'tooy'"),
    _named("of another program", "m3gnet", "unknown foundation model 'm3gnet'"),
    _named("an empty name", "''", "foundation_model"),
    _named("a number", "5", "foundation_model"),
    _named("a list", "[toy]", "foundation_model"),
    _named("true", "true", "foundation_model"),
    _named("spaces", "' '", "unknown foundation model"),
    _named("a missing file", "./x.model", "no model file at .*x.model"),
    _named("a missing absolute file", "/nowhere/x.model", "no model file at /nowhere/x.model"),
    _named("a missing file of the home", "~/x.model", "no model file at .*x.model"),
    _named("a file name without dots", "x.model", "no model file at x.model"),
    _named("an address", "https://example.org/x.model", "no model file at"),
    _named("a folder", ".", "is a folder"),
    _named("a device", "/dev/zero", "no model file|is no file|device"),
    _named("an empty file", "./x.model", "x.model", x_model=b""),
    _named("a text file", "./x.txt", "of which family", x_txt="hello"),
    _named("an HTML page of a failed download", "./x.model", "x.model", x_model="<html>404</html>"),
    _named("a pickle", "./x.model", "x.model", x_model=_PICKLE),
    _named("a pickle in a zip", "./x.model", "x.model", x_model=_zip()),
    _named("a zip that is cut", "./x.model", "x.model", x_model=_zip()[:60]),
    _named("safetensors that are none", "./x.safetensors", "x.safetensors",
           x_safetensors=b"\xff" * 80),
    _named("safetensors with a huge header", "./x.safetensors", "x.safetensors",
           x_safetensors=(2**62).to_bytes(8, "little") + b"{}"),
    _named("safetensors of something else", "./x.safetensors", "x.safetensors",
           x_safetensors=(2).to_bytes(8, "little") + b"{}"),
    _named("a null byte", '"a\\0b"', "a null byte in a value"),
    _named("5000 letters", "z" * 5000, "unknown foundation model|too long"),
    _table("an unknown family", "{family: mase, source: toy}", "unknown family 'mase'"),
    _table("a family without a source", "{family: mace}", "foundation"),
    _table("of another family", "{family: mace, source: chgnet-0.3.0}", "of the family mace"),
    _table("an unknown key", "{source: toy, head: a}", "foundation.head: unknown key"),
    _table("an unknown option", "{source: toy, options: {head: a}}", "no option 'head'"),
    _table("an option that is a list", "{source: toy, options: {head: [a]}}", "options"),
    _table("an option that is nan", "{source: toy, options: {charge: .nan}}", "options"),
    _table("trust as a word", "{family: mace, source: ./x.model, options: {trust_pickle: sure}}",
           "trust_pickle is true or false", x_model=_PICKLE),
    _table("a pickle with its family", "{family: mace, source: ./x.model}", "trust_pickle|pickle",
           x_model=_PICKLE),
    Case("an element that CHGNet does not know", "does not know the element.*Cm|Cm",
         {"POSCAR": COPPER.replace("Cu", "Cm"),
          "run.yaml": settings({"foundation_model": "chgnet-0.3.0", "labeller": "lj"})}),
    Case("an element that MACE does not know", "does not know|not installed",
         {"POSCAR": COPPER.replace("Cu", "Fm"),
          "run.yaml": settings({"foundation_model": "mace-mp-small", "labeller": "lj"})}),
    Case("a package that is not installed", "needs the package",
         {"run.yaml": settings({"foundation_model": "sevennet-0"})}),
)  # fmt: skip
