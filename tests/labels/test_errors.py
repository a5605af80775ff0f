from __future__ import annotations

import pickle

from onfly.labels.errors import LabelError


def test_message_has_reason_directory_and_remedy():
    error = LabelError("forces are not finite", "/calc", "look into it")
    assert str(error) == "forces are not finite; directory: /calc; remedy: look into it"
    assert str(LabelError("bad")) == "bad"


def test_survives_a_border_of_processes():
    error = pickle.loads(pickle.dumps(LabelError("a", "b", "c")))
    assert (error.reason, error.directory, error.remedy) == ("a", "b", "c")
