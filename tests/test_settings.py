from __future__ import annotations

import pytest

from onfly.settings import get_settings


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    import os

    for name in [n for n in os.environ if n.startswith("ONFLY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_defaults_lie_in_the_home_directory(tmp_path):
    settings = get_settings()
    assert tmp_path / ".onfly/artifacts" == settings.ARTIFACT_DIR
    assert tmp_path / ".onfly/store" == settings.STORE_DIR
    assert settings.JOB_STORE is None
    assert settings.n_workers >= 1


def test_environment_beats_file_and_arguments_beat_both(tmp_path, monkeypatch):
    (tmp_path / ".onfly.yaml").write_text("ARTIFACT_DIR: /from/file\nN_WORKERS: 3\nDEVICE: cuda\n")
    assert str(get_settings().ARTIFACT_DIR) == "/from/file"
    assert get_settings().n_workers == 3
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", "/from/env")
    monkeypatch.setenv("ONFLY_DEVICE", "cuda:1")
    settings = get_settings(DEVICE="cpu")
    assert str(settings.ARTIFACT_DIR) == "/from/env"
    assert settings.DEVICE == "cpu"
    monkeypatch.delenv("ONFLY_ARTIFACT_DIR")
    assert str(get_settings().ARTIFACT_DIR) == "/from/file"


def test_unknown_key_names_file_and_keys(tmp_path, monkeypatch):
    path = tmp_path / "other.yaml"
    path.write_text("ARTEFACT_DIR: /x\n")
    monkeypatch.setenv("ONFLY_CONFIG_FILE", str(path))
    with pytest.raises(ValueError, match=r"other\.yaml: unknown key ARTEFACT_DIR.*ARTIFACT_DIR"):
        get_settings()


@pytest.mark.parametrize("text", ["- a\n- b\n", "A: [1\n"])
def test_unreadable_file_is_named(tmp_path, monkeypatch, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    monkeypatch.setenv("ONFLY_CONFIG_FILE", str(path))
    with pytest.raises(ValueError, match=r"broken\.yaml"):
        get_settings()


def test_missing_file_that_was_asked_for_is_an_error(monkeypatch):
    monkeypatch.setenv("ONFLY_CONFIG_FILE", "/nowhere/onfly.yaml")
    with pytest.raises(ValueError, match="does not exist"):
        get_settings()


def test_other_onfly_variables_do_no_harm(monkeypatch):
    monkeypatch.setenv("ONFLY_TEST_MONGO_URI", "mongodb://localhost")
    assert get_settings().DEVICE == "cpu"


def test_job_store_from_environment_is_json(monkeypatch):
    monkeypatch.setenv("ONFLY_JOB_STORE", '{"docs_store": {"type": "MemoryStore"}}')
    assert get_settings().JOB_STORE == {"docs_store": {"type": "MemoryStore"}}


def test_wrong_value_is_refused():
    with pytest.raises(ValueError, match="MAX_DOC_MB"):
        get_settings(MAX_DOC_MB=20)


def test_a_demo_is_found_where_it_was_run_unless_there_are_settings(tmp_path, monkeypatch):
    folder = tmp_path / "work/onfly-demo"
    folder.mkdir(parents=True)
    (folder / "onfly.yaml").write_text("ARTIFACT_DIR: /demo\n")
    assert str(get_settings().ARTIFACT_DIR) != "/demo"
    monkeypatch.chdir(folder.parent)
    assert str(get_settings().ARTIFACT_DIR) == "/demo"
    (tmp_path / ".onfly.yaml").write_text("ARTIFACT_DIR: /mine\n")
    assert str(get_settings().ARTIFACT_DIR) == "/mine"
