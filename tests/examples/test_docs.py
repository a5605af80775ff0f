"""Documentation that is true to the code: keys, defaults, imports, commands."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import runpy
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer.main
import yaml
from pydantic_core import PydanticUndefined

from onfly.bayes.last_layer import LastLayerPosterior
from onfly.bayes.posterior import posterior_from_dict
from onfly.bayes.sghmc_posterior import SGHMCPosterior
from onfly.cli import reference
from onfly.flows import ProductionMaker
from onfly.labels.ase import AseLabelMaker
from onfly.labels.presets import label_maker, preset_names
from onfly.labels.vasp import VaspLabelMaker
from onfly.potentials.families import families
from onfly.proof import ProofRule
from onfly.rounds.table import PHASES
from onfly.settings import OnflySettings
from onfly.spec import CalibrationSpec, ProofSpec, RunSpec
from onfly.spec.campaign import CampaignFile
from onfly.spec.files import RunFile
from onfly.spec.flat import FLAT_KEYS
from onfly.spec.migration import ENDED, RENAMED
from onfly.spec.tables import TABLES, rows
from onfly.spec.yaml import load
from tests.examples.conftest import ROOT
from tests.test_layers import LAYERS

README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
WORKFLOWS = sorted((ROOT / "workflows").rglob("*.md"))
TEXTS = [*PAGES, README, *WORKFLOWS, ROOT / "examples/README.md", ROOT / "constraints/README.md"]
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


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
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


# what a block about one group of settings leaves out
AROUND = """\
structure: POSCAR
threshold: 50 meV
labeller: emt
stages: [{n_steps: 10}]
"""


def settings_files():
    """Yield the YAML blocks that hold settings of runs or campaigns."""
    for page in TEXTS:
        for number, text in enumerate(blocks(page, "yaml")):
            if "JOB_STORE" not in text:  # jobflow's own file
                yield pytest.param(text, id=f"{page.relative_to(ROOT)} {number}")


@pytest.mark.parametrize("text", settings_files())
def test_yaml_blocks_are_valid(text, tmp_path):
    keys = yaml.safe_load(text).keys()
    around = yaml.safe_load(AROUND)
    if "tolerance" in keys:
        del around["threshold"]
    model = RunFile
    if keys & {"campaign", "structures", "workers", "overrides"}:
        model = CampaignFile
        del around["structure"]
        around |= {"campaign": "docs", "structures": ["*.cif"]}
    missing = {k: v for k, v in around.items() if k not in keys}
    path = tmp_path / "block.yaml"
    path.write_text(text + (yaml.safe_dump(missing) if missing else ""))
    file = load(path, model)
    labeller = file.spec.labels.labeller
    if "labeller" in keys and labeller.name != "atomate2.cp2k.jobs.core.StaticMaker":
        kwargs = {k: v for k, v in labeller.kwargs.items() if not str(v).startswith("my_")}
        label_maker(labeller.name, **kwargs)
    posterior_from_dict({"kind": file.spec.posterior.kind, **file.spec.posterior.options})


def test_every_key_of_an_earlier_version_is_explained():
    page = (ROOT / "docs" / "moving_from_0.1.md").read_text()
    for group, key in [*ENDED, *RENAMED]:
        assert f"`{group}.{key}`" in page or f"`{group}: {{{key}" in page, key


def test_the_audits_of_the_default_proof():
    page = (ROOT / "docs" / "moving_from_0.1.md").read_text()
    fields = ("coverage", "confidence", "failures", "attempts")
    default = ProofRule(**{name: getattr(ProofSpec(), name) for name in fields})
    assert f"needs {default.cost().least_audits} audits in its first closing block" in page
    two = [look.n for look in default.model_copy(update={"failures": 1}).looks(0)]
    assert f"({two[0]}, and a reserve of {two[1] - two[0]} if one of them fails" in page


def test_defaults_in_the_theory():
    page = (ROOT / "docs" / "theory.md").read_text()
    assert f"By default (`proof.failures: {ProofSpec().failures}`)" in page
    calibration = CalibrationSpec()
    assert f"is below `surprise` ({calibration.surprise})" in page
    assert f"by `decay` ({calibration.decay})" in page
    posterior = LastLayerPosterior()
    assert f"`scale` = {posterior.scale:g}" in page
    assert f"the `scale_memory` newest labels ({posterior.scale_memory})" in page


def test_defaults_in_the_guides():
    last, sampled = LastLayerPosterior(), SGHMCPosterior()
    page = (ROOT / "docs/howto/posterior.md").read_text()
    gradients = f"{sampled.n_members * sampled.n_steps:,}".replace(",", " ")
    assert f"| steps per update | {last.n_steps}, by Adam | {sampled.n_steps} |" in page
    assert f"| gradients of an update | {last.n_steps} | {gradients} |" in page
    page = (ROOT / "docs/posteriors.md").read_text()
    assert f"`force_draws` is S, {last.force_draws} by default" in page
    assert f"(`force_draws`, now {last.force_draws})" in page
    page = (ROOT / "docs/howto/choosing.md").read_text()
    default, spec = ProofSpec(), RunSpec.model_fields["rounds"].default_factory()
    assert f"`look_ahead_labels: {spec.look_ahead_labels}` (default)" in page
    proofs = re.findall(
        r"`proof: \{coverage: ([\d.]+), confidence: ([\d.]+)\}` \| (\d+), with reserve (\d+)", page
    )
    assert (str(default.coverage), str(default.confidence)) in {p[:2] for p in proofs}
    for coverage, confidence, first, reserve in proofs:
        rule = ProofRule(coverage=float(coverage), confidence=float(confidence))
        assert [str(look.n) for look in rule.looks(0)] == [first, reserve]


def test_the_page_of_commands_is_current():
    page = (ROOT / "docs" / "commands.md").read_text()
    assert reference.page() == page, "run `python -m onfly.cli.reference docs/commands.md`"


def test_the_picture_of_the_layers_is_that_of_the_test():
    picture = blocks(ROOT / "docs" / "architecture.md", "text")[0]
    rows = [line.replace("└─", "").split() for line in picture.splitlines()]
    assert [set(row) for row in rows] == LAYERS


def test_the_table_of_phases_names_the_functions_that_there_are():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `rounds\.(\w+\.\w+)`", page, re.M))
    assert list(rows) == list(PHASES)
    for name in rows.values():
        module, function = name.split(".")
        assert callable(getattr(importlib.import_module(f"onfly.rounds.{module}"), function))


def commands():
    for page in TEXTS:
        for text in [*blocks(page, "bash"), *blocks(page, "sh")]:
            for line in text.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["onfly"]:
                    yield pytest.param(words, id=f"{page.stem}: {' '.join(words)}")


@pytest.mark.parametrize("words", commands())
def test_commands_exist_with_their_options(words):
    check_command(words)


def check_command(words):
    from onfly import cli

    command = typer.main.get_command(cli.app)
    rest = words[1:]
    if rest and not rest[0].startswith("-"):
        assert rest[0] in cli.COMMANDS, f"onfly has no command {rest[0]}"
        command, rest = cli.COMMANDS[rest[0]].load(rest[0]), rest[1:]
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"onfly has no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    for word in rest:
        if word.startswith("-"):
            assert word in options | {"--help"}, f"{words}: no option {word}"


def test_the_python_of_the_tutorial_runs(machine, capsys):
    """Each block is saved as a file and run, as a reader does, but in this process."""
    first, second = blocks(ROOT / "docs" / "tutorial.md", "python")
    out = _run_as_file("first.py", first, capsys)
    model_id, state = out.split()[:2]
    assert state == "ready"
    assert "±" in _run_as_file("second.py", second.replace("MODEL_ID", model_id), capsys)


def _run_as_file(name, text, capsys):
    Path(name).write_text(text)
    capsys.readouterr()
    runpy.run_path(name, run_name="__main__")
    return capsys.readouterr().out


def inline(page):
    """Return what stands between single backticks on a page, outside of blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_dotted_names_exist(page):
    for name in sorted(set(re.findall(r"\bonfly(?:\.[A-Za-z_]\w*)+", page.read_text()))):
        if name.rpartition(".")[2] in ("yaml", "md", "html"):
            continue  # a file
        if name in {"onfly.criteria", "onfly.drivers", "onfly.posteriors"}:
            continue  # a group of entry points
        parts = name.split(".")
        found = importlib.import_module("onfly")
        for number, part in enumerate(parts[1:], start=2):
            if not hasattr(found, part):
                try:
                    importlib.import_module(".".join(parts[:number]))
                except ImportError:
                    # fields of data classes without a default are annotations only
                    assert part in getattr(found, "__annotations__", {}), f"{page.name}: {name}"
                    break
            found = getattr(found, part)


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_text_exist(page):
    for code in inline(page):
        if re.match(r"onfly [a-z]", code):
            check_command(shlex.split(code.replace("…", "")))


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_variables_exist(page):
    known = {f"ONFLY_{name}" for name in OnflySettings.model_fields}
    known |= {"ONFLY_FAST_KERNELS", "ONFLY_TEST_MONGO_URI"}
    for name in re.findall(r"\bONFLY_[A-Z_]+\b", page.read_text()):
        assert name in known, f"{page.name}: {name}"
    for code in inline(page):
        roots = r"(docs|tests|benchmarks|examples|workflows|constraints|src)/[\w./-]+"
        if re.fullmatch(roots, code):
            assert (ROOT / code).exists(), f"{page.name}: {code}"


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_targets_of_make_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for code in [*inline(page), *blocks(page, "bash")]:
        for name in re.findall(r"^make (?:[A-Z]+=\S* )?([a-z-]+)", code, re.M):
            assert name in targets, f"{page.name}: make {name}"


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_keys_in_the_text_exist(page):
    """``key: value`` between backticks is a key of a settings file."""
    for code in inline(page):
        if found := re.match(r"([a-z_]+): ", code):
            assert found[1] in known_keys() | OTHER_KEYS, f"{page.name}: {code}"


# of the files of jobflow, FireWorks and jobflow-remote
OTHER_KEYS = {"additional_stores", "type"}


@cache
def known_keys():
    keys = set(FLAT_KEYS) | set(RunSpec.model_fields)
    keys |= set(RunFile.model_fields) | set(CampaignFile.model_fields)
    keys |= {"threshold", "threshold_per_atom", "stages"} | _fields(ProductionMaker)
    for name in TABLES:
        keys |= {row.key for row in rows(*TABLES[name])}
    for cls in (SGHMCPosterior, LastLayerPosterior, AseLabelMaker, VaspLabelMaker):
        keys |= _fields(cls)
    keys |= set(inspect.signature(VaspLabelMaker.from_preset).parameters)
    for family in families().values():
        keys |= set(family.options)
    return keys


def _fields(cls):
    return {field.name for field in dataclasses.fields(cls)}
