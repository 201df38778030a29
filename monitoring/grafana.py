"""The boards as Grafana's dashboard model; the only module that knows Grafana."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphTresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

from monitoring.panels import Board, Mark, Panel, in_namespace

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_COLOURS = {"Deploy": "blue", "Retrained": "purple"}


def grafana_json(board: Board) -> str:
    """The board's file, as Grafana imports it."""
    model = json.loads(JSONEncoder(sort_keys=True).encode(grafana(board)))
    # The SDK's model of an annotation has no place for what the Prometheus data source asks.
    model["annotations"] = {"list": [_annotation(mark) for mark in board.marks]}
    return json.dumps(model, sort_keys=True, indent=1) + "\n"


def _annotation(mark: Mark) -> dict[str, Any]:
    return {
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": True,
        "expr": in_namespace(mark.query),
        "hide": False,
        "iconColor": _COLOURS[mark.title],
        "name": mark.title,
        "step": "60s",
        "titleFormat": mark.title,
        "textFormat": mark.text,
    }


def grafana(board: Board) -> Any:
    """The board as Grafana's dashboard model, for its JSON encoder."""
    built = (
        dashboard.Dashboard(board.title).uid(board.uid).description(board.says).tags(["lang1"])
        .time(f"now-{board.days}d", "now").refresh("1m" if board.days == 1 else "1h").timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("namespace").label("Namespace").datasource(_SOURCE)
            .query("label_values(lang1_model_info, namespace)").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True).all_value(".*")
        )
    )  # fmt: skip
    for title, panels in board.rows.items():
        built = built.with_row(dashboard.Row(title))
        for panel in panels:
            built = built.with_panel(_panel(panel))
    return built.build()


def _panel(panel: Panel) -> Any:
    made: Any = stat.Panel() if panel.single else timeseries.Panel()
    made = (
        made.title(panel.title).datasource(_SOURCE).unit(panel.unit).span(panel.width).height(5 if panel.single else 8)
    )
    if panel.says:
        made = made.description(panel.says)
    if panel.bound is not None:
        steps = [Threshold(value=None, color="green"), Threshold(value=panel.bound, color="red")]
        made = made.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        if not panel.single:
            made = made.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    for letter, (legend, query) in zip("ABCDEFGH", panel.queries.items(), strict=False):
        made = made.with_target(prometheus.Dataquery().ref_id(letter).expr(in_namespace(query)).legend_format(legend))
    return made
