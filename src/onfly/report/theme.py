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
    "TONE_COLORS",
    "reason_name",
    "tone",
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

# reason -> (name, colour, matplotlib marker)
REASONS: dict[str, tuple[str, str, str]] = {
    "initial": ("first structures", "#7b8794", "s"),
    "seed": ("given at the start", "#a68a64", "s"),
    "warmup": ("warm-up", "#56b4e9", "^"),
    "uncertain": ("model unsure", "#0072b2", "o"),
    "guard": ("MD in danger", "#cc79a7", "X"),
    "ahead": ("look ahead of a call", "#56b4e9", "v"),
    "audit": ("audit (random check)", "#009e73", "D"),
    "closing": ("closing audit (proof)", "#117733", "P"),
    "deciding": ("end of a relaxation or path", "#117733", "*"),
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
# the same as colours, for places without that style sheet
TONE_COLORS = {"ready": "#0b7a55", "more": "#a15c00", "bad": "#b3261e", "busy": "#0b5c8f"}


def tone(state: str) -> str:
    """Class of a verdict's state; a state that is not known warns."""
    return TONES.get(state, "more")


def reason_name(reason: str | None) -> str:
    """Name of a label's reason in plain words."""
    return REASONS[reason][0] if reason in REASONS else (reason or "unknown")
