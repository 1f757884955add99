"""Alerts, dashboard and scrape configuration: valid, and naming only what ``/metrics`` has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from surveillance_collector.health.metrics import exposition
from surveillance_collector.health.readiness import assess
from surveillance_core.settings import Settings

from .statuses import LIMITS, NOON, process, venue

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_METRIC = re.compile(r"\b(?:surveillance|process)_[a-z0-9_]+\b")
_LABEL = re.compile(r"\{([^}]*)\}|\bby \(([^)]*)\)")


def _yaml(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load((DEPLOY / name).read_text()))


def _rules() -> dict[str, dict[str, Any]]:
    groups = _yaml("prometheus/alerts.yml")["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def _panels() -> dict[str, list[dict[str, str]]]:
    dashboard = json.loads((DEPLOY / "grafana/dashboards/collector.json").read_text())
    return {panel["title"]: panel["targets"] for panel in dashboard["panels"]}


def _samples() -> dict[str, set[str]]:
    """Every series' name with its labels, of a collector that has something in every figure."""
    status = assess(process(disk_free_bytes=1), [venue(), venue("kalshi")], LIMITS, NOON)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition(status).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _expressions() -> dict[str, str]:
    named = {f"alert {name}": str(rule["expr"]) for name, rule in _rules().items()}
    for title, targets in _panels().items():
        named |= {f"panel {title} {target['refId']}": target["expr"] for target in targets}
    return named


@pytest.mark.parametrize("where", _expressions())
def test_every_metric_and_label_that_is_named_exists(where: str) -> None:
    expression, samples = _expressions()[where], _samples()
    names = _METRIC.findall(re.sub(r"\{[^}]*\}", "", expression))
    assert names
    assert set(names) <= set(samples), where
    labels = {"job"}.union(*(samples[name] for name in names))
    for selected, grouped in _LABEL.findall(expression):
        wanted = re.findall(r"(\w+)\s*[=!]", selected) + [w.strip() for w in grouped.split(",")]
        assert {label for label in wanted if label} <= labels, where


@pytest.mark.parametrize("where", _expressions())
def test_rates_are_of_counters_and_of_nothing_else(where: str) -> None:
    expression = _expressions()[where]
    for name in _METRIC.findall(re.sub(r"\{[^}]*\}", "", expression)):
        rated = re.search(rf"\b(?:rate|increase)\({name}\b", expression) is not None
        assert rated == name.endswith("_total"), f"{where}: {name}"


def test_legends_use_labels_that_the_series_has() -> None:
    samples = _samples()
    for title, targets in _panels().items():
        for target in targets:
            (name, *_) = _METRIC.findall(target["expr"])
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert used <= samples[name], title


def test_every_alert_says_what_to_do() -> None:
    for name, rule in _rules().items():
        assert rule["labels"]["severity"] in {"page", "warn"}, name
        assert rule["annotations"]["summary"], name
        assert rule["annotations"]["next_step"], name


def test_panels_ask_the_source_that_is_provisioned_and_do_not_overlap() -> None:
    source = _yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["uid"]
    dashboard = json.loads((DEPLOY / "grafana/dashboards/collector.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == source
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_scrape_goes_where_the_pages_are() -> None:
    configuration = _yaml("prometheus/prometheus.yml")
    (job,) = configuration["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert target == f"collector:{Settings().health.port}"
    for name in configuration["rule_files"]:
        assert (DEPLOY / "prometheus" / name).is_file()
