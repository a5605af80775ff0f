"""``jf onfly …``: our command within that of jobflow-remote.

jobflow-remote finds this module by the entry point group ``jobflow_remote.plugins``.
"""

from __future__ import annotations

import sys

import typer

__all__ = ["setup_jf_plugin"]


def setup_jf_plugin() -> None:
    """Mount the command; nothing heavy is imported before it is used."""
    from jobflow_remote.cli.jf import app

    options = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("onfly", context_settings=options, add_help_option=False)(_onfly)


def _onfly(context: typer.Context) -> None:
    """On-the-fly fine-tuning: submit, status, models, report …; see `jf onfly --help`."""
    from onfly.cli import main

    # the project chosen by `jf -p` holds for what is called here as well
    sys.argv = ["jf onfly", *context.args]
    main()
