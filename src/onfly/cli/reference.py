"""The page of all commands, made from the commands themselves.

``python -m onfly.cli.reference docs/commands.md`` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onfly.cli import COMMANDS

__all__ = ["commands", "page"]

_HEAD = """# Commands

Made from the commands by `python -m onfly.cli.reference docs/commands.md`; `onfly COMMAND --help`
says the same. `onfly --install-completion` sets up the completion of your shell. Files of settings
are described in [configuration](configuration.md).

Exit codes: 0 *ready*, or done as asked; 1 something is left to mend (`onfly doctor`, `onfly
campaign mend`); 2 bad input; 3 *stopped*; 4 *not accurate enough* or *needs more audits*; 70
internal error; 130 Ctrl-C.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Yield name and command, groups as their members."""
    for name, lazy in COMMANDS.items():
        command = lazy.load(name)
        members = getattr(command, "commands", None)
        if members is None:
            yield name, command
        else:
            yield from ((f"{name} {inner}", item) for inner, item in members.items())


def page() -> str:
    """Return the page in Markdown."""
    return _HEAD + "".join(_section(name, command) for name, command in commands())


def _section(name: str, command: Any) -> str:
    given = [p for p in command.params if "--help" not in p.opts]
    arguments = [p for p in given if p.param_type_name == "argument"]
    usage = " ".join(["onfly", name, *(_usage(p) for p in arguments)])
    if len(given) > len(arguments):
        usage += " [OPTIONS]"
    text = f"\n## onfly {name}\n\n```text\n{usage}\n```\n\n{_paragraphs(command.help or '')}\n"
    if given:
        text += "\n| | default | meaning |\n|---|---|---|\n"
        text += "".join(_row(p) for p in given)
    return text


def _usage(parameter: Any) -> str:
    name = parameter.name.upper() + ("…" if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{parameter.name.upper()}`"
    else:
        name = ", ".join(f"`{o}`" for o in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default is None or default is False or default in ((), []):
        shown = ""
    else:
        shown = "on" if default is True else f"`{getattr(default, 'value', default)}`"
    meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| {name} | {shown} | {meaning} |\n"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        Path(argument).write_text(page(), encoding="utf-8")
