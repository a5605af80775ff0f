"""Colours and names that all figures share (Okabe-Ito, safe for colour-blind readers)."""

from __future__ import annotations

__all__ = [
    "CHAINS",
    "FOUNDATION",
    "INK",
    "MODEL",
    "REASONS",
    "REASON_ORDER",
    "THRESHOLD",
    "TONES",
    "reason_color",
    "reason_name",
]

INK = "#1f2933"
MUTED = "#7b8794"
GRID = "#e4e7eb"
MODEL = "#0072b2"
FOUNDATION = "#e69f00"
THRESHOLD = "#c23b22"
AUDIT = "#009e73"

CHAINS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#6b6ecf",
    "#8a8a3a",
)

# reason -> (name, colour, symbol)
REASONS: dict[str, tuple[str, str, str]] = {
    "initial": ("first structure", "#7b8794", "square"),
    "seed": ("given at the start", "#a68a64", "square"),
    "warmup": ("warm-up", "#56b4e9", "triangle"),
    "uncertain": ("model unsure", "#0072b2", "circle"),
    "guard": ("MD in danger", "#cc79a7", "x"),
    "audit": ("audit (random check)", "#009e73", "diamond"),
}
REASON_ORDER = tuple(REASONS)

# state of a verdict -> class of the style sheet
TONES = {
    "ready": "ready",
    "needs more audits": "more",
    "not accurate enough": "bad",
    "running": "busy",
    "stopped": "bad",
}


def reason_name(reason: str | None) -> str:
    """Name of a label's reason in plain words."""
    return REASONS[reason][0] if reason in REASONS else (reason or "unknown")


def reason_color(reason: str | None) -> str:
    """Colour of a label's reason."""
    return REASONS[reason][1] if reason in REASONS else MUTED
