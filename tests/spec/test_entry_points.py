"""What entry points of other packages lead to."""

from __future__ import annotations

import pytest

from onfly.spec.entry_points import attribute, paths_of


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package with entry points, as pip would."""
    info = tmp_path / "other-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[onfly.drivers]\ndescent = other_module:Descent\n")
    (tmp_path / "other_module.py").write_text("class Descent: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_package_that_is_installed_meanwhile_is_found(request):
    assert "descent" not in paths_of("onfly.drivers")
    request.getfixturevalue("package")
    assert paths_of("onfly.drivers")["descent"] == "other_module:Descent"


def test_what_a_path_leads_to(package):
    assert attribute("other_module:Descent").__name__ == "Descent"
    assert attribute("other_module").__name__ == "other_module"


@pytest.mark.parametrize("path", ["no_such_module:Descent", "other_module:Ascent"])
def test_what_cannot_be_imported_is_named(package, path):
    with pytest.raises(ValueError, match=f"the driver 'd' = {path} cannot be imported"):
        attribute(path, "driver 'd'")
    with pytest.raises((ImportError, AttributeError)):
        attribute(path)
