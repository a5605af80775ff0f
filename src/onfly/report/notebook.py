"""Small cards of runs and models for notebooks.

``show(run)`` returns one; after ``%load_ext onfly.report.notebook`` every `RunState` and
`FineTunedModelDoc` is shown as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from onfly.artifacts.files import ArtifactError
from onfly.proof import Verdict as Proof
from onfly.report.data import load_run
from onfly.report.run_data import RunReportData
from onfly.report.tables import formula_html, labels_text, number, rmse_of, tolerance_text
from onfly.report.theme import TONE_COLORS, tone
from onfly.report.verdict import energy_text, percent
from onfly.schemas import FineTunedModelDoc, RunState
from onfly.settings import get_settings
from onfly.spec import Tolerance

__all__ = ["Card", "html_summary", "load_ipython_extension", "show"]

Rows = Iterable[tuple[str, str | None]]


@dataclass(frozen=True)
class Card:
    """HTML that a notebook shows.

    Attributes
    ----------
    html
        A div with styles of its own, and no script.

    Examples
    --------
    >>> Card("<p>copper</p>").html
    '<p>copper</p>'
    """

    html: str

    def _repr_html_(self) -> str:
        return self.html


def show(what: RunState | FineTunedModelDoc | str | Path, root: str | Path | None = None) -> Card:
    """Return the card of a run or model.

    Parameters
    ----------
    what
        A document, the identifier of a run, or the folder of one.
    root
        Artifact directory; that of the settings unless given.

    Returns
    -------
    Card
        Energies in meV.

    Raises
    ------
    FileNotFoundError
        If there is no such run. A model needs none: it is shown by what its document says.
    ArtifactError
        If the state of the run is damaged, or of another version.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> card = show(ModelLibrary.from_settings().latest("CuAu"))
    >>> "needs more audits" in card.html
    True
    """
    runs = Path(root or get_settings().ARTIFACT_DIR).expanduser() / "runs"
    folder = runs / what.run_id if isinstance(what, RunState | FineTunedModelDoc) else Path(what)
    try:
        return Card(html_summary(load_run(folder if folder.is_dir() else runs / folder)))
    except (FileNotFoundError, ArtifactError):  # not here, or of another version
        if isinstance(what, FineTunedModelDoc):
            return Card(_model_card(what))
        raise


def load_ipython_extension(ipython: Any) -> None:
    """Let notebooks show documents of runs and models as cards.

    Parameters
    ----------
    ipython
        The shell.

    Examples
    --------
    In a notebook: ``%load_ext onfly.report.notebook``.

    >>> from IPython.core.interactiveshell import InteractiveShell
    >>> load_ipython_extension(InteractiveShell.instance())
    """
    formatter = ipython.display_formatter.formatters["text/html"]
    for doc in (RunState, FineTunedModelDoc):
        formatter.for_type(doc, lambda value: show(value).html)


def html_summary(data: RunReportData) -> str:
    """Return the card of a run: state, compound, tolerance, labels, waits and what is proven.

    Parameters
    ----------
    data
        Of `onfly.report.load_run`.

    Returns
    -------
    str
        HTML; energies in meV.

    Examples
    --------
    >>> from onfly.report import load_run
    >>> from onfly.settings import get_settings
    >>> from onfly.testing.models import toy_run, write_toy_run
    >>> _ = write_toy_run(get_settings().ARTIFACT_DIR, toy_run("r"))
    >>> html_summary(load_run(get_settings().ARTIFACT_DIR / "runs" / "r"))[:4]
    '<div'
    """
    name, verdict = data.identity, data.verdict
    good = verdict.n_audits - verdict.n_failed
    own, before = rmse_of(data.audits)
    rows = [
        ("Foundation model", data.foundation),
        ("Tolerance", tolerance_text(data)),
        ("Labels", f"{data.counts.n_labels} ({labels_text(data.counts)})"),
        ("Proven", _proven(verdict.coverage, verdict.confidence, good, verdict.n_audits)),
        ("Energy RMSE at audits", _errors(own, before)),
    ]
    return _card(name.formula, name.run_id, verdict.state, verdict.headline, rows)


def _model_card(model: FineTunedModelDoc) -> str:
    proof = None if model.verdict is None else Proof.model_validate(model.verdict)
    proven = None
    if proof is not None:
        good = proof.n_audits - proof.n_failed
        proven = _proven(proof.coverage, proof.confidence, good, proof.n_audits)
    waits = "" if model.n_waits is None else f", in {model.n_waits} waits"
    tolerance = (
        ", ".join(f"{t.name}: {t.text}" for t in map(Tolerance.model_validate, model.tolerances))
        if model.threshold_ev is None
        else f"{energy_text(model.threshold_ev)} on the energy of the whole cell"
    )
    rows = [
        ("Foundation model", model.foundation_model),
        ("Tolerance", tolerance),
        ("Labels", f"{model.n_labels} ({model.n_audits} audits{waits})"),
        ("Proven", proven),
        ("Energy RMSE at audits", _errors(model.audits.rmse, model.audits.foundation_rmse)),
    ]
    return _card(model.formula_pretty or "", model.model_id, model.state, model.state, rows)


def _proven(coverage: float | None, confidence: float, good: int, n: int) -> str | None:
    if coverage is None:
        return None
    return (
        f"at least {percent(coverage)} of the steps ({percent(confidence)} confidence; {good} of "
        f"{n} audits good)"
    )


def _errors(own: float | None, before: float | None) -> str | None:
    if own is None:
        return None
    return f"{number(own, 3, 1000)} meV (foundation model {number(before, 3, 1000)} meV)"


def _card(formula: str, name: str, state: str, headline: str, rows: Rows) -> str:
    # it brings its own style and needs no script; its text has the notebook's colour, so that it
    # is read on a dark ground too
    color = TONE_COLORS[tone(state)]
    cells = "".join(
        f'<tr><td style="text-align:left;opacity:.7;padding:1px 14px 1px 0">{escape(k)}</td>'
        f'<td style="text-align:left;padding:1px 0">{escape(v)}</td></tr>'
        for k, v in rows
        if v is not None
    )
    return (
        f'<div style="border:1px solid #9aa5b166;border-left:5px solid {color};border-radius:6px;'
        'padding:8px 14px;max-width:640px;font-family:system-ui,sans-serif;font-size:13px">'
        f'<div style="font-size:15px"><b>{formula_html(formula)}</b> '
        f'<span style="opacity:.7">{escape(name)}</span> '
        f'<b style="color:{color}">{escape(headline)}</b></div>'
        f'<table style="border-collapse:collapse;margin:4px 0 0">{cells}</table></div>'
    )
