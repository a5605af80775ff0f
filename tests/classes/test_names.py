from __future__ import annotations

import pytest

from onfly.classes.names import ClassModelError, ClassName


@pytest.mark.parametrize("text", ["class:a-b_1.x@12", "a-b_1.x@12"])
def test_a_name_is_read_with_and_without_its_prefix(text):
    found = ClassName.parse(text)
    assert (found.name, found.version, str(found)) == ("a-b_1.x", 12, "class:a-b_1.x@12")


@pytest.mark.parametrize("text", ["class:", "class:a@", "class:a@0", "class:a@x", "class:../a"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ClassModelError):
        ClassName.parse(text)
