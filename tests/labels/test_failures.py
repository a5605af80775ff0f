"""The reason of a failed label reaches the user, whichever way it takes."""

from __future__ import annotations

import gzip
import json
import re
import sys

import pytest
from jobflow import JobConfig, OnMissing, job, run_locally
from monty.json import MontyDecoder, jsanitize

from onfly.labels.ase import AseLabelMaker
from onfly.labels.errors import LabelError, plain_text
from onfly.labels.extract import extract_label
from onfly.labels.failures import FailedLabelDoc, failed_label, report_failures
from onfly.labels.reasons import evidence, label_error
from onfly.labels.single_point import build_calculator
from onfly.labels.vasp import VaspLabelMaker
from onfly.testing.vasp_setup import standin_kwargs, write_control

FAULTY = r"""
import os, sys
from ase.calculators.emt import EMT

class Exits(EMT):
    def calculate(self, *args):
        sys.exit("no licence")

class ExitsWithNumber(EMT):
    def calculate(self, *args):
        sys.exit(3)

class HardExit(EMT):
    def calculate(self, *args):
        print("no licence", flush=True)
        os._exit(5)

class Latin(EMT):
    def calculate(self, *args):
        os.write(1, b"\xe4\xff\xfe\n")
        raise RuntimeError("SCF not converged after 60 steps: \udce4 \x00 residual 0.3")

class LatinCrash(EMT):
    def calculate(self, *args):
        os.write(1, b"no licence \xe4\xff\xfe\n")
        os.abort()

class Odd(BaseException):
    pass

class RaisesBase(EMT):
    def calculate(self, *args):
        raise Odd("odd end")

class Mute(Exception):
    def __str__(self):
        raise ValueError("cannot")

class RaisesMute(EMT):
    def calculate(self, *args):
        raise Mute

class Interrupts(EMT):
    def calculate(self, *args):
        raise KeyboardInterrupt

class ExitsWhenBuilt(EMT):
    def __init__(self, **kwargs):
        sys.exit("no licence")
"""

FAILURES = {
    "Exits": r"sys.exit\(no licence\)",
    "ExitsWithNumber": r"sys.exit\(3\)",
    "Latin": "SCF not converged after 60 steps",
    "RaisesBase": "Odd: odd end",
    "RaisesMute": "Mute without a message",
    "ExitsWhenBuilt": r"sys.exit\(no licence\)",
}


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    (tmp_path / "faulty_labellers.py").write_text(FAULTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "faulty_labellers"
    sys.modules.pop("faulty_labellers", None)


@pytest.mark.parametrize("name", FAILURES)
def test_end_of_a_labeller_is_a_failed_label(copper, faulty, name):
    maker = AseLabelMaker(calculator=f"{faulty}.{name}")
    with pytest.raises(LabelError, match=FAILURES[name]) as caught:
        maker.run(copper)
    json.dumps(str(caught.value), ensure_ascii=False).encode()  # any file takes it


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Exits", "no licence"),
        ("Latin", "SCF not converged after 60 steps"),
        ("HardExit", "exit code 5: no licence"),
        ("LatinCrash", "exit code -6.*no licence"),
        ("Interrupts", "KeyboardInterrupt"),
    ],
)
def test_end_of_a_process_of_its_own(copper, faulty, name, message):
    maker = AseLabelMaker(calculator=f"{faulty}.{name}", in_process=False)
    with pytest.raises(LabelError, match=f"(?s){message}") as caught:
        maker.run(copper)
    str(caught.value).encode()


def test_the_wish_to_stop_is_obeyed(copper, faulty):
    with pytest.raises(KeyboardInterrupt):
        AseLabelMaker(calculator=f"{faulty}.Interrupts").run(copper)
    with pytest.raises(KeyboardInterrupt):
        failed_label(KeyboardInterrupt())


@job(config=JobConfig(on_missing_references=OnMissing.NONE))
def reason_of(output):
    try:
        extract_label(output)
    except LabelError as error:
        return str(error)
    return "a label"


def through_a_chain(label):
    """Run a label and the job after it as a workflow manager does: all through JSON."""
    label = MontyDecoder().process_decoded(jsanitize(label.as_dict(), strict=True))
    after = reason_of(label.output)
    responses = run_locally([label, after], create_folders=True, log=False)
    return responses[after.uuid][1].output


@pytest.mark.parametrize("name", FAILURES)
def test_reason_reaches_the_next_job_of_a_chain(copper, faulty, name):
    label = report_failures(AseLabelMaker(calculator=f"{faulty}.{name}").make(copper))
    assert re.search(FAILURES[name], through_a_chain(label))


def test_without_the_report_the_next_job_knows_nothing(copper, faulty):
    label = AseLabelMaker(calculator=f"{faulty}.RaisesMute").make(copper)
    assert through_a_chain(label) == "the labeller returned nothing"


def test_a_label_that_succeeds_is_what_it_was(copper):
    label = AseLabelMaker(calculator="ase.calculators.emt.EMT", name="mine").make(copper)
    uuid, name, data = label.uuid, label.name, dict(label._kwargs)
    reported = report_failures(report_failures(label))
    assert (reported.uuid, reported.name, reported._kwargs) == (uuid, name, data)
    assert through_a_chain(reported) == "a label"


@pytest.mark.vasp
@pytest.mark.parametrize(
    ("fault", "message"),
    [("never", "(?i)converge"), ("hard", "SIGSEGV"), ("empty", "(?i)vasprun")],
)
def test_reason_of_vasp_reaches_the_next_job(nacl, tmp_path, fault, message):
    control = write_control(tmp_path / "control.json", fault=fault)
    kwargs = standin_kwargs(control)
    # the ladder of algorithms is long; its end is the same after two rungs
    kwargs["run_vasp_kwargs"]["max_errors"] = 2
    maker = VaspLabelMaker.from_preset("pbe", **kwargs)
    reason = through_a_chain(report_failures(maker.make(nacl)))
    assert re.search(message, reason)
    assert "directory: " in reason


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("std_err.txt", b"forrtl: severe: no licence for vasp\n", "no licence for vasp"),
        ("vasp.out", b"running on 4 cores\n ERROR: charge density could not be read\n", "ERROR"),
        ("vasp.out", b"\xe4\xff LAPACK: Routine ZPOTRF failed! \xfe\n", "ZPOTRF failed"),
        ("vasp.out.gz", gzip.compress(b" Error EDDDAV: Call to ZHEGV failed\n", mtime=0), "EDDDAV"),
        ("cp2k.out", b"*** SCF run NOT converged ***\n", "NOT converged"),
        ("aims.out", b"x\n" * 100_000 + b"Aborting: out of memory\n", "out of memory"),
        ("run.log", b"plain words\n", "plain words"),
        ("vasp.out.gz", b"no gzip", None),
        ("std_err.txt", b"", None),
        (
            "custodian.json",
            json.dumps([{"corrections": [{"errors": ["brmix"]}]}]).encode(),
            "brmix",
        ),
        ("custodian.json", b"{", None),
        ("custodian.json", b"[1, 2]", None),
        ("other.txt", b"Error\n", None),
    ],
)
def test_evidence_in_files(tmp_path, name, content, expected):
    folder = tmp_path / "calc"
    folder.mkdir()
    (folder / name).write_bytes(content)
    for directory in (str(folder), f"node7:{folder}"):
        found = evidence(directory)
        assert found is None if expected is None else expected in found


def test_emmets_bare_failed_is_completed_from_the_files(tmp_path):
    (tmp_path / "vasp.out").write_text(" ERROR: no licence found\n")
    document = {"vasp_version": "6.4.2", "state": "failed", "dir_name": f"host:{tmp_path}"}
    with pytest.raises(LabelError, match=r"^vasp.out: ERROR: no licence found; .*'failed'"):
        extract_label(document)
    document |= {"analysis": {"errors": ["Bad structure"]}, "dir_name": "/nowhere"}
    with pytest.raises(LabelError, match=r"^Bad structure; .*'failed'"):
        extract_label(document)


def test_a_label_error_within_other_errors_is_the_reason():
    cause = LabelError("no licence", "/calc", "buy one")
    try:
        try:
            raise cause
        except LabelError as error:
            raise RuntimeError("Job failed") from error
    except RuntimeError as error:
        assert label_error(error) is cause  # noqa: PT017  # what `raise … from` made of it
        document = failed_label(error, "/here")
    again = FailedLabelDoc.model_validate(json.loads(document.model_dump_json())).error()
    assert (again.reason, again.directory, again.remedy) == ("no licence", "/calc", "buy one")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\x00b\x1b[31m", "ab[31m"), ("\udce4x", "?x"), ("a\nb", "a\nb"), (3, "3"), (None, "None")],
)
def test_plain_text(text, expected):
    assert plain_text(text) == expected


def test_long_reasons_keep_both_ends():
    text = plain_text("a" * 5000 + "b" * 5000)
    assert len(text) <= 2000
    assert text.startswith("aaa")
    assert text.endswith("bbb")


def test_nothing_is_called_that_is_no_calculator(tmp_path):
    target = tmp_path / "called"
    with pytest.raises(LabelError, match="nothing of it was called"):
        build_calculator("os.system", {"command": f"touch {target}"})
    assert not target.exists()
