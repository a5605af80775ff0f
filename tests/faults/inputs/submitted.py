"""Campaigns that cannot be."""

from __future__ import annotations

from tests.faults.inputs.case import COPPER, Case, campaign, settings

__all__ = ["SUBMITTED"]

_LOCAL = ("submit", "run.yaml", "--to", "local", "--quiet")
_PAIR = "2\n\nCu 0 0 0\nCu 0 0 2.2\n"


def _with(name: str, says: str, words: tuple[str, ...] = _LOCAL, /, **changes: str | None) -> Case:
    return Case(f"campaign: {name}", says, {"run.yaml": campaign(changes)}, words)


def _file(name: str, says: str, file: str, content: str | bytes, **changes: str | None) -> Case:
    return Case(f"campaign: {name}", says, {"run.yaml": campaign(changes), file: content}, _LOCAL)


SUBMITTED = (
    _with("no name", "campaign", campaign=None),
    _with("name with a slash", "cannot name folders", campaign="a/b"),
    _with("name with spaces", "cannot name folders", campaign="my campaign"),
    _with("empty name", "cannot name folders", campaign="''"),
    _with("name is a number", "campaign", campaign="5"),
    _with("name that leads out", "cannot name folders", campaign="../x"),
    _with("no structures", "structures", structures=None),
    _with("empty structures", "structures", structures="[]"),
    _with("structures is a number", "structures", structures="5"),
    _with("structures null", "structures", structures="null"),
    _with("structures unknown key", "structures.folder: unknown key", structures="{folder: x}"),
    _with("a missing file", "no file nothing.cif", structures="[nothing.cif]"),
    _with("a pattern that finds nothing", r"no file \*.cif", structures="['*.cif']"),
    _with("a file twice", "are the same", structures="[POSCAR, POSCAR]"),
    _with("an absolute pattern", "no file /nowhere", structures="['/nowhere/*']"),
    _with("all files of the folder", "cannot be read|run.yaml", structures="['*']"),
    _with("a missing json", "cannot be read", structures="{pymatgen: x.json}"),
    _file("json of numbers", "is no pymatgen Structure", "x.json", "[1, 2]",
          structures="{pymatgen: x.json}"),
    _file("json that is cut", "cannot be read", "x.json", '[{"@class": "Struct',
          structures="{pymatgen: x.json}"),
    _file("json of another class", "is no pymatgen Structure", "x.json",
          '[{"@module": "os", "@class": "system"}]', structures="{pymatgen: x.json}"),
    _file("json of half a structure", "is damaged", "x.json",
          '[{"@module": "pymatgen.core.structure", "@class": "Structure", "sites": []}]',
          structures="{pymatgen: x.json}"),
    _file("json with nan", "nan or infinite|damaged", "x.json",
          '[{"@module": "pymatgen.core.structure", "@class": "Structure", "lattice": {"matrix": '
          '[[3.61, 0, 0], [0, 3.61, 0], [0, 0, 3.61]]}, "sites": [{"species": [{"element": "Cu", '
          '"occu": 1}], "abc": [NaN, 0, 0]}]}]', structures="{pymatgen: x.json}"),
    _file("json with half an atom", "partial occupation|partial occupancies", "x.json",
          '[{"@module": "pymatgen.core.structure", "@class": "Structure", "lattice": {"matrix": '
          '[[3.61, 0, 0], [0, 3.61, 0], [0, 0, 3.61]]}, "sites": [{"species": [{"element": "Cu", '
          '"occu": 0.5}], "abc": [0, 0, 0]}]}]', structures="{pymatgen: x.json}"),
    _file("json.gz that is none", "cannot be read", "x.json.gz", b"no gzip",
          structures="{pymatgen: x.json.gz}"),
    _file("empty json", "no structures", "x.json", "[]", structures="{pymatgen: x.json}"),
    _with("a query without a store", "structures", structures="{query: {criteria: {}}}"),
    _with("a store without a type", "not the name of a maggma store",
          structures="{query: {store: {host: x}}}"),
    _with("a store that is none", "is no maggma store",
          structures="{query: {store: {type: system}}}"),
    _with("a store with other arguments", "store MongoStore",
          structures="{query: {store: {type: MongoStore, port: 1}}}"),
    _with("limit -1", "limit", structures="{query: {store: {type: MongoStore}, limit: -1}}"),
    _with("override of nothing", "fit no compound", overrides="{NaCl: {threshold: 20 meV}}"),
    _with("override that is a number", "overrides.Cu", overrides="{Cu: 5}"),
    _with("overrides that are a list", "overrides", overrides="[Cu]"),
    _with("override with an unknown key", "overrides.Cu.thresold", overrides="{Cu: {thresold: 1}}"),
    _with("override without unit", "has no unit", overrides="{Cu: {threshold: 20}}"),
    _with("override with nan", "overrides.Cu.max_force", overrides="{Cu: {max_force: .nan}}"),
    _with("override of the labeller", "unknown labeller", overrides="{Cu: {labeller: emtt}}"),
    _with("override of the foundation", "unknown foundation",
          overrides="{Cu: {foundation_model: tooy}}"),
    _with("override of the stages", "needs a pressure",
          overrides="{Cu: {stages: [{n_steps: 5, ensemble: npt}]}}"),
    _with("seed_from", "is for one run", seed_from="x"),
    _with("run_id", "run_id", run_id="x"),
    _with("workers a word", "workers", workers="many"),
    _with("workers with other keys", "workers.tpu: unknown key", workers="{tpu: {}}"),
    _with("mode", "mode", mode="fast"),
    _with("no labeller", "labeller: is missing", labeller=None),
    _with("unknown labeller", "unknown labeller", labeller="emtt"),
    _with("unknown foundation", "unknown foundation", foundation_model="tooy"),
    _with("ase_md_kwargs", "frictoin",
          stages="[{n_steps: 5, ase_md_kwargs: {frictoin: 0.01}}]"),
    _with("posterior", "no_such", posterior="{kind: sghmc, no_such: 1}"),
    _with("posterior with nan", "prior_std", posterior="{kind: sghmc, prior_std: .nan}"),
    _with("no unit", "has no unit", threshold="50"),
    _file("a labeller that does not know the element", "does not know Na", "na.vasp",
          COPPER.replace("Cu", "Na"), structures="[na.vasp, POSCAR]"),
    _file("coordinates of nan", "nan or infinite", "POSCAR", COPPER.replace("0.01", "nan")),
    _file("an isolated pair and npt", "periodic structure", "x.xyz", _PAIR, structures="[x.xyz]",
          stages="[{n_steps: 9, ensemble: npt, pressure: 0.0}]"),
    Case("a run is submitted", "campaign", {"run.yaml": settings({})}, _LOCAL),
    _with("to nowhere", "use fireworks, remote or local", ("submit", "run.yaml", "--to", "slurm")),
    _with("to no place", "Missing option|--to", ("submit", "run.yaml")),
    _with("a LaunchPad that is not there", "there is no LaunchPad file",
          ("submit", "run.yaml", "--to", "fireworks", "--launchpad", "x.yaml")),
    _with("workers without a database", "workers need a database|LaunchPad",
          ("submit", "run.yaml", "--to", "fireworks", "--launchpad", "lp.yaml")),
    _with("no jobflow-remote", "jobflow-remote|jobflow_remote",
          ("submit", "run.yaml", "--to", "remote")),
    _with("dry run is checked too", "unknown labeller", (*_LOCAL, "--dry-run"), labeller="emtt"),
    _with("plan is checked too", "unknown labeller", ("plan", "run.yaml"), labeller="emtt"),
    _with("plan of a campaign without files", "no file", ("plan", "run.yaml"),
          structures="[nothing.cif]"),
)  # fmt: skip
