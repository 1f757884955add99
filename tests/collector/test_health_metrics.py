"""The figures: read back with Prometheus' own parser."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from surveillance_collector.health.metrics import MOST_LABELS, exposition
from surveillance_collector.health.readiness import assess
from surveillance_core.status import Status

from .statuses import LIMITS, NOON, connection, process, venue


def _families(status: Status) -> dict[str, Metric]:
    text = exposition(status).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def _values(family: Metric, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in family.samples}


def test_figures_are_what_was_read_by_venue() -> None:
    status = assess(process(), [venue(), venue("kalshi", frames=7)], LIMITS, NOON)
    found = _families(status)
    assert _values(found["surveillance_frames"], "venue") == {"polymarket": 1_000, "kalshi": 7}
    assert found["surveillance_ready"].samples[0].value == 1
    assert found["surveillance_disk_free_bytes"].samples[0].value == 50 * 1024**3
    assert found["surveillance_start_time_seconds"].samples[0].value == NOON.timestamp()
    reconnects = found["surveillance_reconnects"].samples[0]
    assert reconnects.labels == {"venue": "polymarket", "cause": "closed_1006"}
    assert "process_resident_memory_bytes" in found


def test_counters_are_counters_and_every_name_is_ours_in_base_units() -> None:
    families = _families(assess(process(), [venue()], LIMITS, NOON))
    kinds = {name: f.type for name, f in families.items() if name.startswith("surveillance_")}
    counters = {name for name, kind in kinds.items() if kind == "counter"}
    assert {"surveillance_frames", "surveillance_messages", "surveillance_reconnects"} <= counters
    assert "surveillance_rows_held" not in counters
    assert set(kinds.values()) == {"counter", "gauge"}
    assert not [name for name in kinds if name.endswith(("_ms", "_minutes", "_hours", "_kb"))]
    assert all(family.documentation for family in families.values())
    names = {sample.name for name in counters for sample in families[name].samples}
    assert all(name.endswith("_total") for name in names)


def test_reasons_are_labels_and_ready_is_zero() -> None:
    status = assess(process(disk_free_bytes=0), [venue(publish_failing=True)], LIMITS, NOON)
    found = _families(status)
    assert found["surveillance_ready"].samples[0].value == 0
    assert _values(found["surveillance_not_ready"], "reason") == {
        "disk_low": 1, "publish_failing": 1
    }  # fmt: skip


def test_what_is_not_known_is_left_out() -> None:
    young = venue(
        universe=None, universe_age_seconds=None, engine_age_seconds=None,
        connections=(connection(data_age_seconds=None),),
    )  # fmt: skip
    found = _families(assess(process(disk_free_bytes=None), [young], LIMITS, NOON))
    assert "surveillance_disk_free_bytes" not in found
    assert found["surveillance_universe_age_seconds"].samples == []
    assert found["surveillance_connection_data_age_seconds"].samples == []


def test_a_peer_cannot_make_labels_without_end_nor_counters_fall() -> None:
    before = 0.0
    for codes in (10, MOST_LABELS + 1, 900):
        causes = {f"closed_{4_000 + n}": 1 for n in range(codes)}
        status = assess(
            process(), [venue(connections=(connection(reconnects=causes),))], LIMITS, NOON
        )
        values = _values(_families(status)["surveillance_reconnects"], "cause")
        assert len(values) <= MOST_LABELS + 1
        assert sum(values.values()) == codes
        assert values.get("other", 0.0) >= before
        before = values.get("other", 0.0)
    assert values["closed_4000"] == 1


def test_hostile_text_in_a_label_stays_in_its_label() -> None:
    name = 'x"} 1\nsurveillance_ready 1\\'
    status = assess(process(), [venue(rejected={name: 3}, publish_failing=True)], LIMITS, NOON)
    found = _families(status)
    assert _values(found["surveillance_rejected"], "reason") == {name: 3}
    assert [sample.value for sample in found["surveillance_ready"].samples] == [0]
