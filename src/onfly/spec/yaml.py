"""Settings files: read safely, with the line of every key, so that an error says where it is.

The reader differs from ``yaml.safe_load`` in this: a key that stands twice is an error; `1e-3` is a
number, and `NO` and `on` are words (YAML 1.2); depth and size after the expansion of aliases are
limited.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from onfly.spec.base import Spec
from onfly.spec.flat import SettingError

__all__ = ["ConfigError", "Source", "load", "parse_yaml", "read_source"]

logger = logging.getLogger(__name__)

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 50_000

Key = tuple[str | int, ...]
SpecT = TypeVar("SpecT", bound=Spec)


class ConfigError(ValueError):
    """A settings file that cannot be used; the message names file, key, line and remedy.

    Examples
    --------
    >>> from onfly.spec.files import RunFile
    >>> _ = Path("run.yaml").write_text("threshhold: 50 meV")
    >>> load(Path("run.yaml"), RunFile)
    Traceback (most recent call last):
        ...
    onfly.spec.yaml.ConfigError: run.yaml, line 1: threshhold: unknown key: did you mean ...
    """


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- as in PyYAML


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
        r"|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
    )


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node).replace("_", ""))  # 010 is ten


_Loader.add_constructor("tag:yaml.org,2002:int", _int)


@dataclass(frozen=True)
class Source:
    """What a file says, and where.

    Parameters
    ----------
    path
        The file.
    data
        Its content.
    lines
        Line of each key, by its path.
    """

    path: Path
    data: dict[str, Any]
    lines: dict[Key, int]

    @property
    def folder(self) -> Path:
        """To which paths in the file are relative."""
        return self.path.parent

    def message(self, key: Key, text: str) -> str:
        """Return a message with file, line and key."""
        known = key
        while known and known not in self.lines:
            known = known[:-1]
        place = f"{self.path}, line {self.lines[known]}" if known else str(self.path)
        name = ".".join(str(part) for part in key)
        return f"{place}: {name}: {text}" if name else f"{place}: {text}"

    def error(self, key: Key, text: str) -> ConfigError:
        """Return an error about a key, such as ``("labeller",)``."""
        return ConfigError(self.message(key, text))


def parse_yaml(text: str, name: str = "<text>") -> tuple[Any, dict[Key, int]]:
    """Return content and lines of a YAML text.

    Raises
    ------
    ConfigError
        If the text is not valid YAML, has a key twice, or is too deep or too large.
    """
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[Key, int] = {}
            if node is not None:
                _count(node, {}, set())
                _collect(node, (), lines)
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}, line {mark.line + 1}" if mark is not None else name
        raise ConfigError(f"{place}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from None
    except ValueError as error:  # a scalar that its tag does not fit, such as `!!int x`
        raise ConfigError(f"{name}: not valid YAML: {error}") from None
    return data, lines


def _refuse(problem: str, node: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _check_depth(text: str) -> None:
    # before the nodes are built, which is done by recursion
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _refuse(f"nested more than {MAX_DEPTH} levels deep", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _count(node: yaml.Node, sizes: dict[int, int], above: set[int]) -> int:
    """Return the number of nodes with all aliases expanded, each alias counted once only."""
    if id(node) in above:
        raise _refuse("an alias contains itself", node)
    if id(node) not in sizes:
        above.add(id(node))
        size = 1 + sum(_count(child, sizes, above) for child in _children(node))
        above.remove(id(node))
        if size > MAX_NODES:
            raise _refuse(f"more than {MAX_NODES} values once its aliases are expanded", node)
        sizes[id(node)] = size
    return sizes[id(node)]


def _collect(node: yaml.Node, path: Key, lines: dict[Key, int]) -> None:
    if isinstance(node, yaml.ScalarNode):
        if "\0" in node.value:  # by an escape, such as "a\0b"; no file can be called so
            raise _refuse("a null byte in a value", node)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _refuse("a key must be a word or a number", key)
            if key.tag.endswith(":merge"):
                continue
            if key.value in first:
                where = f"line {first[key.value]} of the file"
                raise _refuse(f"the key {key.value!r} stands twice, first in {where}", key)
            first[key.value] = line
            lines[(*path, key.value)] = line
            _collect(value, (*path, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _collect(value, (*path, index), lines)


def read_source(path: Path, *, empty: bool = False) -> Source:
    """Read a settings file.

    Parameters
    ----------
    path
        The file.
    empty
        Whether a file without any key is one.

    Raises
    ------
    ConfigError
        If it cannot be read, or is not a mapping in valid YAML.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)  # a device has no end
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a name with a null byte
        raise ConfigError(f"{str(path)!r} cannot be read: {error}") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path} is too large: a settings file has at most {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text: save the file as UTF-8") from None
    data, lines = parse_yaml(text, str(path))
    if data is None and empty:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold `key: value` lines")
    strange = [key for key in data if not isinstance(key, str)]
    if strange:
        raise ConfigError(f"{path}: the key {strange[0]!r} is not a word")
    return Source(path, data, lines)


def load(path: Path, model: type[SpecT]) -> SpecT:
    """Read and validate the file of a run or of a campaign.

    Parameters
    ----------
    path
        The file.
    model
        `RunFile` or `CampaignFile` (anything with their ``from_source``).

    Returns
    -------
    RunFile or CampaignFile
        The validated settings.

    Raises
    ------
    ConfigError
        With one line for each mistake: file, line, key, and what to do.

    Examples
    --------
    >>> from onfly.spec.files import RunFile
    >>> text = "{structure: POSCAR, threshold: 50 meV, labeller: emt, stages: [{n_steps: 9}]}"
    >>> _ = Path("run.yaml").write_text(text)
    >>> load(Path("run.yaml"), RunFile).spec.rounds.initial_labels
    1
    """
    source = read_source(path)
    origins: dict[Key, Key] = {}
    try:
        return model.from_source(source, origins)  # type: ignore[attr-defined]
    except SettingError as error:
        raise ConfigError("\n".join(source.message(p, t) for p, t in error.problems)) from None
    except ValidationError as error:
        raise ConfigError("\n".join(_messages(error, source, origins, model))) from None


def _messages(
    error: ValidationError, source: Source, origins: dict[Key, Key], model: type[Spec]
) -> list[str]:
    items = [(tuple(item["loc"]), item) for item in error.errors()]
    messages: list[str] = []
    for loc, item in items:
        deeper = any(other[: len(loc)] == loc and len(other) > len(loc) for other, _ in items)
        if item["type"] == "too_short" and deeper:
            continue  # pydantic counts what was refused as missing
        text = item["msg"].removeprefix("Value error, ")
        group, found = _model_at(model, loc[:-1])
        if item["type"] == "extra_forbidden":
            text = f"unknown key; known keys are {', '.join(sorted(group.model_fields))}"
        elif item["type"] == "missing":
            text = "is missing"
            field = group.model_fields.get(str(loc[-1]))
            if found and field is not None and field.description:
                text += f" ({field.description})"
        messages.append(source.message(_origin(loc, origins), text))
    return list(dict.fromkeys(messages))


def _model_at(model: type[Spec], path: Key) -> tuple[type[Spec], bool]:
    """Return the group at a path, and whether the path was followed to its end."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:
            if isinstance(part, int):
                continue
            return model, False
        inner = _inner(field.annotation)
        if inner is None:
            return model, False
        model = inner
    return model, True


def _inner(annotation: Any) -> type[Spec] | None:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _inner(argument)) is not None:
            return found
    return None


def _origin(path: Key, origins: dict[Key, Key]) -> Key:
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return (*origins[path[:length]], *path[length:])
    return path
