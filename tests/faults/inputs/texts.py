"""Files that are no YAML of settings."""

from __future__ import annotations

from tests.faults.inputs.case import Case, settings

__all__ = ["TEXTS"]

_GOOD = settings({})


def _text(name: str, content: str | bytes, says: str) -> Case:
    return Case(name, says, {"run.yaml": content})


_BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 20)]
)
TEXTS = (
    _text("empty file", "", "must hold `key: value` lines"),
    _text("comments only", "# nothing\n", "must hold `key: value` lines"),
    _text("a list", "- 1\n- 2\n", "must hold `key: value` lines"),
    _text("a word", "run\n", "must hold `key: value` lines"),
    _text("a number", "5\n", "must hold `key: value` lines"),
    _text("two documents", _GOOD + "---\n" + _GOOD, "another document"),
    _text("a key twice", _GOOD + "labeller: lj\n", "line 6: .*'labeller' stands twice"),
    _text("an inner key twice", _GOOD + "rounds: {length: 5, length: 6}\n", "'length' stands tw"),
    _text("a bracket that is open", _GOOD + "rounds: {length: 5\n", "not valid YAML"),
    _text("a quote that is open", _GOOD + 'run_id: "r\n', "not valid YAML"),
    _text("a tab as indentation", "stages:\n\t- n_steps: 5\n", "not valid YAML"),
    _text("bad indentation", _GOOD + "rounds:\n  length: 5\n audit_interval: 3\n", "not valid"),
    _text("no space behind a colon", _GOOD + "seed:5\n", "not valid YAML|run.yaml"),
    _text("python object", _GOOD + "seed: !!python/object/apply:os.system ['touch pwned']\n",
          "could not determine a constructor"),
    _text("python name", _GOOD + "seed: !!python/name:os.system\n", "could not determine"),
    _text("python tuple", _GOOD + "seed: !!python/tuple [1]\n", "could not determine"),
    _text("local tag", _GOOD + "seed: !secret 5\n", "could not determine a constructor"),
    _text("binary tag", _GOOD + "run_id: !!binary x\n", "run.yaml"),
    _text("int tag of a word", _GOOD + "seed: !!int x\n", "not valid YAML"),
    _text("timestamp", _GOOD + "run_id: !!timestamp 2024-13-45\n", "run.yaml"),
    _text("set tag", _GOOD + "seed_from: !!set {a, b}\n", "run.yaml"),
    _text("omap tag", _GOOD + "rounds: !!omap [a: 1]\n", "run.yaml"),
    _text("alias bomb", _GOOD + _BOMB, "more than 50000 values"),
    _text("alias to itself", _GOOD + "rounds: &a {length: *a}\n", "contains itself"),
    _text("alias of nothing", _GOOD + "rounds: *nothing\n", "not valid YAML"),
    _text("60 levels", _GOOD + "rounds: " + "[" * 60 + "]" * 60, "nested more than 40"),
    _text("100 000 levels", _GOOD + "rounds: " + "[" * 100_000 + "\n", "nested more than 40"),
    _text("100 000 levels of mappings", _GOOD + "rounds: " + "{a: " * 100_000, "nested more"),
    _text("2 MB", _GOOD + "#" * 2_000_000, "a settings file has at most 1000000"),
    _text("not UTF-8", _GOOD.encode() + b"run_id: \xff\xfe\n", "line 6: not UTF-8 text"),
    _text("UTF-16", _GOOD.encode("utf-16"), "not UTF-8 text"),
    _text("a null byte", _GOOD + "run_id: a\0b\n", "not valid YAML"),
    _text("an escape character", _GOOD + "run_id: a\x1bb\n", "not valid YAML"),
    _text("a key that is a number", _GOOD + "5: 6\n", "the key 5 is not a word"),
    _text("a key that is null", _GOOD + "~: 6\n", "not a word"),
    _text("a key that is true", _GOOD + "true: 6\n", "not a word"),
    _text("a key that is a list", _GOOD + "? [a]\n: 1\n", "a key must be a word"),
    _text("an inner key that is a number", _GOOD + "rounds: {5: 6}\n", r"rounds"),
    _text("merge of a word", _GOOD + "rounds: {<<: some}\n", "not valid YAML"),
    _text("json", '{"structure": "POSCAR", "threshold": 5}', "labeller: is missing"),
    _text("ini", "[run]\nstructure = POSCAR\n", "run.yaml"),
    _text("html", "<html><body>404</body></html>\n", "run.yaml"),
    _text("a misspelt key", _GOOD + "audit_intervall: 5\n", "did you mean audit_interval"),
    _text("a key in capitals", _GOOD + "SEED: 5\n", "unknown key"),
    _text("a key of another program", _GOOD + "NSW: 20\n", "unknown key"),
    _text("a misspelt key of a group", _GOOD + "proof: {coverige: 0.5}\n", "proof.coverige: unkno"),
    _text("a key of a Maker", _GOOD + "label_maker: emt\n", "label_maker: unknown key"),
    _text("a key of version 0.1", _GOOD + "stopping: {min_audits: 3}\n", "has no meaning any more"),
    _text("another of version 0.1", _GOOD + "stopping: {min_coverage: 0.9}\n", "is not a proof"),
    _text("flat and group", _GOOD + "labels: {labeller: emt}\n", "is the same as labels.labeller"),
    _text("two foundations", _GOOD + "foundation: toy\n", "is the same as foundation"),
    _text("threshold and tolerance",
          _GOOD + "tolerance: [{quantity: energy, value: 5 meV}]\n", "is the short form"),
    _text("threshold_per_atom alone", settings({"threshold": None, "threshold_per_atom": "true"}),
          "needs threshold"),
    _text("spec as a key", _GOOD + "spec: {seed: 5}\n", "spec: unknown key"),
    _text("a group that is a word", _GOOD + "rounds: some\n", "rounds: "),
    _text("a group that is null", _GOOD + "rounds: null\n", "rounds: "),
    _text("a group that is a list", _GOOD + "rounds: [1, 2]\n", "rounds: "),
    _text("a campaign", "campaign: c\nstructures: [POSCAR]\n" + _GOOD.split("\n", 1)[1],
          "campaign"),
    *(_text(f"no {key}", settings({key: None}), f"{key}: is missing")
      for key in ("structure", "threshold", "labeller", "stages")),
    *(_text(f"{key} is null", settings({key: "null"}), key)
      for key in ("threshold", "labeller", "stages", "foundation_model")),
    Case("no such file", "cannot be read: No such file", {}),
    Case("a directory", "cannot be read", {}, ("run", ".", "--quiet")),
    Case("a file of another name", "cannot be read", {}, ("run", "run.txt", "--quiet")),
    Case("a device", "is too large", {}, ("run", "/dev/zero", "--quiet")),
    Case("a name of 5000 letters", "cannot be read", {}, ("run", "y" * 5000 + ".yaml")),
    Case("a name with a null byte", "cannot be read|null", {}, ("run", "a\0.yaml")),
)  # fmt: skip
