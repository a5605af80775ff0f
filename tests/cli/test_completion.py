"""What the tab key offers, asked as the completion script of bash asks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RUN = "import sys; sys.argv = ['onfly']; from onfly.cli import main; main()"


def complete(words):
    asked = {
        "_ONFLY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("onfly re", {"resume", "report"}),
        ("onfly models ex", {"export", "export-labels"}),
        ("onfly run --q", {"--quiet"}),
    ],
)
def test_completion(words, expected):
    assert set(complete(words)) == expected
