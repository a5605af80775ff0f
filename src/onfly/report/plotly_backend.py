"""Draw figures for the page with plotly."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from onfly.report import theme
from onfly.report.spec import Band, Bars, Figure, Heat, Line, Panel, Points
from onfly.report.ticks import integer_step, panel_ticks

__all__ = ["LAYOUT", "draw_plotly"]

SYMBOLS = {
    "circle": "circle",
    "circle-open": "circle-open",
    "diamond": "diamond",
    "x": "x",
    "square": "square",
    "triangle": "triangle-up",
    "tick": "line-ns-open",
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
LAYOUT: dict[str, Any] = {
    "template": "none",
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "#ffffff",
    "font": {"family": FONT, "size": 13, "color": theme.INK},
    "hoverlabel": {"font": {"family": FONT}},
    "modebar": {
        "bgcolor": "rgba(255,255,255,0.85)",
        "color": "#9aa5b1",
        "activecolor": theme.MODEL,
    },
}
BLUES = [[0.0, "rgba(255,255,255,0)"], [0.15, "#e3eef7"], [0.5, "#7fb3d9"], [1.0, "#1f5f99"]]


def _rgba(color: str, opacity: float) -> str:
    r, g, b = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{opacity})"


def _traces(item: Line | Points | Band | Bars | Heat, decimals: bool = True) -> list[Any]:
    if isinstance(item, Line):
        return [
            go.Scatter(
                x=item.x,
                y=item.y,
                name=item.name,
                mode="lines",
                line={
                    "color": item.color,
                    "width": item.width,
                    "dash": item.dash,
                    "shape": "hv" if item.step else "linear",
                },
                showlegend=item.legend,
                legendgroup=item.name,
                hoverinfo="skip" if item.dash == "dot" else None,
            )
        ]
    if isinstance(item, Points):
        error = None
        if item.low is not None and item.high is not None:
            error = {
                "type": "data",
                "symmetric": False,
                "array": item.high - item.y,
                "arrayminus": item.y - item.low,
                "color": item.color,
            }
        outlined = item.symbol in ("circle-open", "tick")
        return [
            go.Scatter(
                x=item.x,
                y=item.y,
                name=item.name,
                mode="markers",
                marker={
                    "symbol": SYMBOLS[item.symbol],
                    "color": item.color,
                    "size": item.size,
                    "line": {
                        "width": 1.6 if outlined else 0.8,
                        "color": item.color if outlined else "#ffffff",
                    },
                },
                error_y=error,
                text=list(item.text) if item.text is not None else None,
                hovertemplate="%{text}<extra>%{fullData.name}</extra>" if item.text else None,
                showlegend=item.legend,
                legendgroup=item.name,
            )
        ]
    if isinstance(item, Band):
        common = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        return [
            go.Scatter(x=item.x, y=item.low, showlegend=False, legendgroup=item.name, **common),
            go.Scatter(
                x=item.x,
                y=item.high,
                name=item.name,
                fill="tonexty",
                fillcolor=_rgba(item.color, item.opacity),
                legendgroup=item.name,
                **common,
            ),
        ]
    if isinstance(item, Bars):
        return [go.Bar(x=item.x, y=item.y, name=item.name, marker={"color": item.color})]
    return [
        go.Heatmap(
            x=item.x,
            y=item.y,
            z=item.z,
            name=item.name,
            colorscale=BLUES,
            showscale=False,
            hoverinfo="skip",
        )
    ]


def _references(figure: go.Figure, panel: Panel, row: int) -> None:
    suffix = "" if row == 1 else str(row)
    for reference in panel.references:
        along_x = reference.axis == "y"
        value = reference.value
        line = {"color": reference.color, "width": 1.6, "dash": reference.dash}
        # shapes take data values on a logarithmic axis, annotations their logarithm
        label = np.log10(value) if panel.log and along_x else value
        if along_x:
            ends = {"xref": f"x{suffix} domain", "x0": 0, "x1": 1}
            figure.add_shape(
                type="line", yref=f"y{suffix}", y0=value, y1=value, line=line, layer="above", **ends
            )
            place = {"xref": f"x{suffix} domain", "x": 0.995, "yref": f"y{suffix}", "y": label}
            anchor = {"xanchor": "right", "yanchor": "bottom"}
        else:
            ends = {"yref": f"y{suffix} domain", "y0": 0, "y1": 1}
            figure.add_shape(type="line", xref=f"x{suffix}", x0=value, x1=value, line=line, **ends)
            place = {"yref": f"y{suffix} domain", "y": 0.98, "xref": f"x{suffix}", "x": label}
            anchor = {"xanchor": "left", "yanchor": "top"}
        if reference.label:
            figure.add_annotation(
                text=reference.label,
                showarrow=False,
                font={"color": reference.color, "size": 12},
                bgcolor="rgba(255,255,255,0.75)",
                **place,
                **anchor,
            )


def draw_plotly(spec: Figure) -> go.Figure:
    """Draw a figure; the page gives it its width."""
    n = len(spec.panels)
    figure = make_subplots(
        rows=n,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05 if n > 1 else 0.0,
        row_heights=[panel.weight for panel in spec.panels],
    )
    named: set[str] = set()
    for row, panel in enumerate(spec.panels, start=1):
        for item in panel.items:
            for trace in _traces(item):
                # the same curve in two panels has one entry in the legend
                if trace.name in named and not isinstance(item, Heat):
                    trace.showlegend = False
                elif trace.name and trace.showlegend is not False:
                    named.add(trace.name)
                figure.add_trace(trace, row=row, col=1)
        limits = panel.yrange
        if limits is not None and panel.log:
            limits = (float(np.log10(limits[0])), float(np.log10(limits[1])))
        ticks, texts = panel_ticks(panel) if panel.log else (None, None)
        figure.update_yaxes(
            title={"text": panel.ylabel, "standoff": 6},
            type="log" if panel.log else "linear",
            tickvals=ticks,
            ticktext=texts,
            range=limits,
            row=row,
            col=1,
        )
        _references(figure, panel, row)
    figure.update_xaxes(
        showline=True, linecolor="#9aa5b1", gridcolor=theme.GRID, zeroline=False, ticks="outside",
        tickcolor="#9aa5b1", ticklen=4, range=spec.xrange,
    )  # fmt: skip
    figure.update_yaxes(
        showline=True, linecolor="#9aa5b1", gridcolor=theme.GRID, zeroline=False, automargin=True,
        ticks="outside", tickcolor="#9aa5b1", ticklen=4,
    )  # fmt: skip
    figure.update_xaxes(title={"text": spec.xlabel, "standoff": 8}, row=n, col=1)
    if spec.integer_x:
        figure.update_xaxes(dtick=integer_step(spec), tick0=0)
    lines = 1
    if spec.xticks is not None:
        lines += max(text.count("\n") for _, text in spec.xticks)
        figure.update_xaxes(
            tickvals=[x for x, _ in spec.xticks],
            ticktext=[text.replace("\n", "<br>") for _, text in spec.xticks],
            row=n,
            col=1,
        )
    figure.update_layout(
        **LAYOUT,
        height=spec.height,
        margin={"l": 70, "r": 18, "t": 34, "b": 34 + 18 * lines},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.01,
            "yanchor": "bottom",
            "font": {"size": 12},
            "bgcolor": "rgba(0,0,0,0)",
        },
        hovermode="closest",
    )
    return figure
