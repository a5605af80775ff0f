"""YAML files with line numbers, so that an error in one says where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

__all__ = ["ConfigError", "load_config"]

ModelT = TypeVar("ModelT", bound=BaseModel)


class ConfigError(ValueError):
    """A configuration file that cannot be used; the message names line and remedy."""


def _lines(node: yaml.Node | None, path: tuple, found: dict[tuple, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found[(*path, key.value)] = key.start_mark.line + 1
            _lines(value, (*path, key.value), found)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[(*path, index)] = value.start_mark.line + 1
            _lines(value, (*path, index), found)


def load_config(path: Path, model: type[ModelT]) -> ModelT:
    """Read and validate a YAML file.

    Raises
    ------
    ConfigError
        With one line for each mistake: the line in the file, the key, and what to do.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        data: Any = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold `key: value` lines")
    lines: dict[tuple, int] = {}
    _lines(node, (), lines)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        messages = [_message(path, item, lines, model) for item in error.errors()]
        raise ConfigError("\n".join(messages)) from None


def _message(path: Path, item: Any, lines: dict[tuple, int], model: type[BaseModel]) -> str:
    where = tuple(item["loc"])
    known = where
    while known and known not in lines:
        known = known[:-1]
    place = f"{path}, line {lines[known]}" if known else str(path)
    key = ".".join(str(part) for part in where)
    text = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        text = "unknown key"
        if len(where) == 1:
            text += f"; known keys are {', '.join(sorted(model.model_fields))}"
    elif item["type"] == "missing":
        text = "is missing"
        field = model.model_fields.get(str(where[0])) if len(where) == 1 else None
        if field is not None and field.description:
            text += f" ({field.description})"
    return f"{place}: {key}: {text}"
