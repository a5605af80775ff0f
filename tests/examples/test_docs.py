"""Documentation that is true to the code: keys, defaults, imports, commands."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import shlex

import pytest
import typer.main
import yaml
from onfly.flows.config import RunConfig
from pydantic_core import PydanticUndefined

from onfly.bayes.last_layer import LastLayerPosterior
from onfly.bayes.sghmc_posterior import SGHMCPosterior
from onfly.labels.presets import label_maker, preset_names
from onfly.settings import OnflySettings
from tests.examples.conftest import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def table(heading):
    """Return the rows of the first table below a heading, by their first column."""
    section = CONFIGURATION.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [
        [c.strip() for c in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row for row in rows}


def value(cell):
    return yaml.safe_load(cell.strip("`"))


def default(field):
    if field.default_factory is not None:
        made = field.default_factory()
        return made if isinstance(made, dict | list) else {}
    return field.default


@pytest.mark.parametrize(
    ("heading", "model", "column"),
    [
        ("Settings of the machine", OnflySettings, 1),
    ],
)
def test_every_key_is_documented_with_its_default(heading, model, column):
    rows = table(heading)
    fields = dict(model.model_fields)
    fields.pop("CONFIG_FILE", None)
    assert set(rows) == set(fields)
    for key, field in fields.items():
        told = value(rows[key][column])
        expected = default(field)
        if expected is PydanticUndefined:
            assert told == "required", key
        else:
            same = str(told) == str(expected) if column == 1 and key.endswith("_DIR") else None
            assert same or told == expected, (key, told, expected)


def test_posterior_keys_and_defaults():
    rows = table("Posterior")
    known = {
        f.name for cls in (SGHMCPosterior, LastLayerPosterior) for f in dataclasses.fields(cls)
    }
    assert set(rows) == known
    for column, cls in ((1, SGHMCPosterior), (2, LastLayerPosterior)):
        defaults = {f.name: f.default for f in dataclasses.fields(cls)}
        told = {k: value(row[column]) for k, row in rows.items() if row[column] != "–"}
        assert told == defaults


def test_labellers_are_those_there_are():
    section = CONFIGURATION.split("\n## Labellers\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert named == set(preset_names()) | {"atomate2.cp2k.jobs.core.StaticMaker"}


def test_demo_configuration_in_the_tutorial():
    tutorial = blocks(ROOT / "docs" / "tutorial.md", "yaml")[0]
    demo = (ROOT / "src" / "onfly" / "cli" / "demo.yaml").read_text()
    assert yaml.safe_load(tutorial) == yaml.safe_load(demo)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT / "docs")))
def test_python_blocks_name_what_exists(page):
    for code in blocks(page, "python"):
        tree = ast.parse(code)
        names = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                if node.module.startswith("jobflow_remote"):
                    continue  # in an environment of its own
                module = importlib.import_module(node.module)
                for alias in node.names:
                    names[alias.asname or alias.name] = getattr(module, alias.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                _check_keywords(names.get(node.func.id), node)


def _check_keywords(called, node):
    if called is None:
        return
    known = inspect.signature(called).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return
    for keyword in node.keywords:
        assert keyword.arg in known, f"{node.func.id} has no {keyword.arg}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT / "docs")))
def test_yaml_blocks_are_valid(page):
    for text in blocks(page, "yaml"):
        if page.name == "posterior.md" and text.count("posterior:") > 1:
            contents = [yaml.safe_load(line) for line in text.splitlines()]
        else:
            contents = [yaml.safe_load(text)]
        for content in contents:
            if "structure" in content:
                RunConfig.model_validate(content)
            if isinstance(content.get("labeller"), dict):
                labeller = content["labeller"]
                label_maker(labeller["name"], **labeller.get("kwargs", {}))


def commands():
    for page in [*PAGES, ROOT / "README.md"]:
        for text in blocks(page, "bash"):
            for line in text.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["onfly"]:
                    yield pytest.param(words, id=f"{page.stem}: {' '.join(words)}")


@pytest.mark.parametrize("words", commands())
def test_commands_exist_with_their_options(words):
    from onfly import cli

    command = typer.main.get_command(cli.app)
    rest = words[1:]
    if rest and not rest[0].startswith("-"):
        assert rest[0] in cli.COMMANDS, f"onfly has no command {rest[0]}"
        command, rest = cli.COMMANDS[rest[0]].load(rest[0]), rest[1:]
    while rest and hasattr(command, "commands"):
        assert rest[0] in command.commands, f"onfly has no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    for word in rest:
        if word.startswith("-"):
            assert word in options | {"--help"}, f"{words}: no option {word}"


@pytest.mark.slow
def test_the_python_of_the_tutorial_runs(machine):
    names: dict = {}
    for code in blocks(ROOT / "docs" / "tutorial.md", "python"):
        exec(compile(code, "tutorial.md", "exec"), names)
    assert names["model"].n_steps == 60
    assert names["copper"].calc.results["energy_std"] > 0
