"""The report of one run: one HTML page that needs no network, and its figures as PNG files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["build_report"]


def build_report(
    run_folder: str | Path,
    out: str | Path | None = None,
    png: bool = True,
    refresh: int | None = None,
) -> Path:
    """Write the report of a run, finished or not.

    Parameters
    ----------
    run_folder
        Folder of the run, ``<artifact dir>/runs/<run_id>``.
    out
        The page; ``report.html`` in the run's folder unless given.
    png
        Also write the figures to ``<name of the page>_figures/*.png`` next to it.
    refresh
        Seconds after which a browser loads the page again; for a run that is being watched.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    FileNotFoundError
        If the folder holds no run.

    Examples
    --------
    >>> from onfly.settings import get_settings
    >>> from onfly.testing.models import toy_run, write_toy_run
    >>> _ = write_toy_run(get_settings().ARTIFACT_DIR, toy_run("r"))
    >>> build_report(get_settings().ARTIFACT_DIR / "runs" / "r", "r.html", png=False).name
    'r.html'
    """
    # matplotlib takes a second to import: not for those who only ask for the verdict
    from onfly.report.page import write_report

    folder = Path(run_folder).expanduser()
    page = Path(out).expanduser() if out is not None else folder / "report.html"
    write_report(folder, page, png, refresh)
    return page
