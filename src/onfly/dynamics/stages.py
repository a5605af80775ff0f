"""Stages of a temperature and pressure programme; they are declared in `onfly.spec`."""

from __future__ import annotations

from onfly.spec.stages import DYNAMICS, MDStage, default_time_step, locate, total_steps

__all__ = ["DYNAMICS", "MDStage", "default_time_step", "locate", "total_steps"]
