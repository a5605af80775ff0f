"""A group of commands of which each is imported when it is called.

`onfly --help` needs a sentence about each command, not its code; and a settings file with an error
is told before torch, pymatgen and jobflow are imported, which takes seconds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["LazyCommand", "lazy_group"]


@dataclass(frozen=True)
class LazyCommand:
    """A command that is not imported yet.

    Parameters
    ----------
    module
        Module with ``register(app)``, or with the ``app`` of a group of commands.
    help
        First sentence of the command's own help.
    settings
        Class of the settings file that is the first argument, as ``"module:class"``: it is
        validated before `module` is imported.
    """

    module: str
    help: str
    settings: str | None = None

    def load(self, name: str) -> Any:
        """Import the command."""
        module = import_module(self.module)
        parent = typer.Typer(add_completion=False)
        if hasattr(module, "register"):
            module.register(parent)
        else:
            parent.add_typer(module.app, name=name)
        return typer.main.get_group(parent).commands[name]

    def check(self, arguments: list[str]) -> None:
        """Validate the settings file, if one is given.

        Raises
        ------
        typer.Exit
            If it has an error; all of them have been printed.
        """
        if self.settings is None or not arguments:
            return
        path = Path(arguments[0])
        if path.suffix not in (".yaml", ".yml"):
            return  # an option, or a mistake that the command itself explains
        from onfly.spec.yaml import ConfigError, load

        module, _, name = self.settings.partition(":")
        try:
            load(path, getattr(import_module(module), name))
        except ConfigError as error:
            from onfly.cli.errors import fail

            raise fail(error) from None


def lazy_group(commands: dict[str, LazyCommand]) -> type[TyperGroup]:
    """Return a class of groups with these commands, for ``typer.Typer(cls=…)``."""

    class LazyGroup(TyperGroup):
        """Commands stand in for themselves by name and help until one is called."""

        def __init__(self, **attrs: Any) -> None:
            # plain text: half of the time of `onfly --help` would be the import of rich's Markdown
            super().__init__(**attrs | {"rich_markup_mode": None})
            for name, lazy in commands.items():
                self.add_command(TyperCommand(name, callback=None, help=lazy.help), name)

        def main(self, *args: Any, **extra: Any) -> Any:
            """Run a command; whatever it raises becomes a message and a documented code."""
            try:
                return super().main(*args, **extra)
            except Exception as error:
                if extra.get("standalone_mode") is False:
                    raise  # called from Python
                from onfly.cli.errors import ended_by

                sys.exit(ended_by(error).exit_code)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, lazy.help) for name, lazy in commands.items()])

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name, command, rest = super().resolve_command(ctx, args)
            if name in commands:
                if not ctx.resilient_parsing:
                    commands[name].check(rest)
                command = commands[name].load(name)
            return name, command, rest

    return LazyGroup
