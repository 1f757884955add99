"""The lake on a real S3 server of this machine."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import boto3
import polars as pl
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from surveillance_core.lake.compaction import compact_day
from surveillance_core.lake.errors import LakeError, OriginError, PublishError
from surveillance_core.lake.manifest import (
    ManifestEntry,
    manifest_days,
    manifest_marks,
    read_manifest,
)
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.read import (
    QUARANTINED,
    damage_of,
    read_universe,
    scan_table,
    verify_days,
)
from surveillance_core.lake.schemas import COVERAGE, TRADES
from surveillance_core.lake.store import ObjectStoreOptions
from surveillance_core.markets import Market, Venue

POLYMARKET = Venue.POLYMARKET
BUCKET = "surveillance-tests"
PublishTrades = Callable[..., ManifestEntry]
_prefixes = count()


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStoreOptions]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=BUCKET)
    yield ObjectStoreOptions(endpoint_url=url, region="us-east-1")
    moto.stop()
    patch.undo()


@pytest.fixture
def objects(server: ObjectStoreOptions) -> pafs.S3FileSystem:
    host = server.endpoint_url.removeprefix("http://")
    return pafs.S3FileSystem(endpoint_override=host, scheme="http", region="us-east-1")


@pytest.fixture(autouse=True)
def _staging_in_the_tests_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def s3_root(server: ObjectStoreOptions) -> str:
    return f"s3://{BUCKET}/lake-{next(_prefixes)}"


@pytest.fixture
def lake(server: ObjectStoreOptions, s3_root: str) -> Lake:
    return Lake(s3_root, "real", server)


def _key(lake: Lake, path: str) -> str:
    return f"{lake.store.root.removeprefix('s3://')}/{path}"


def test_what_pyarrow_writes_polars_and_pyarrow_read_back_alike(
    lake: Lake, day: date, publish_trades: PublishTrades, objects: pafs.S3FileSystem
) -> None:
    entry = publish_trades(lake, *range(500))
    publish_trades(lake, 1_000.0)
    scan = scan_table(lake, TRADES, POLYMARKET, [day])
    assert (scan.files, scan.rows, scan.damaged) == (2, 501, ())
    frame = scan.frame.collect()
    assert frame.height == 501
    assert frame.schema == TRADES.polars
    written = pl.DataFrame(pq.read_table(_key(lake, entry.path), filesystem=objects))
    assert frame.sort("ts_recv").head(500).equals(written.select(frame.columns).sort("ts_recv"))
    assert not list(lake.store.staging().iterdir())


def test_rows_are_the_same_as_in_a_local_lake(
    lake: Lake, tmp_path: Path, day: date, publish_trades: PublishTrades
) -> None:
    local = Lake(str(tmp_path / "local"), "real")
    there, here = publish_trades(lake, 3, 1, 2), publish_trades(local, 3, 1, 2)
    assert (there.path, there.digest, there.bytes) == (here.path, here.digest, here.bytes)
    frames = [
        scan_table(place, TRADES, POLYMARKET, [day]).frame.collect() for place in (lake, local)
    ]
    assert frames[0].equals(frames[1])


def test_every_line_of_the_manifest_is_kept(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    entries = [publish_trades(lake, float(second)) for second in range(5)]
    before = manifest_marks(lake.store, POLYMARKET, day)
    entries.append(publish_trades(lake, 9.0, writer="collector-1"))
    manifest = read_manifest(lake.store, POLYMARKET, day)
    assert sorted(manifest.entries, key=lambda e: e.published_us) == entries
    assert manifest.damaged_lines == 0
    assert manifest_days(lake.store, POLYMARKET) == [day]
    after = manifest_marks(lake.store, POLYMARKET, day)
    assert after["collector-0.jsonl"] == before["collector-0.jsonl"]
    assert set(after) == {"collector-0.jsonl", "collector-1.jsonl"}


def test_a_universe_is_replaced_whole(lake: Lake, day: date, markets: list[Market]) -> None:
    assert read_universe(lake, POLYMARKET, day) is None
    publish_universe(lake, POLYMARKET, day, markets, writer="w")
    publish_universe(lake, POLYMARKET, day, markets[:2], writer="w")
    assert read_universe(lake, POLYMARKET, day) == markets[:2]


def test_objects_that_are_not_listed_are_never_seen(
    lake: Lake, day: date, publish_trades: PublishTrades, objects: pafs.S3FileSystem
) -> None:
    entry = publish_trades(lake, 1.0)
    key = _key(lake, entry.path)
    objects.copy_file(key, key.replace("trades_", "stray_"))
    assert scan_table(lake, TRADES, POLYMARKET, [day]).frame.collect().height == 1


@pytest.mark.parametrize("damage", ["halved", "deleted", "flipped"])
def test_a_damaged_object_is_quarantined_beside_the_lake(
    lake: Lake,
    day: date,
    publish_trades: PublishTrades,
    objects: pafs.S3FileSystem,
    damage: str,
) -> None:
    bad, good = publish_trades(lake, *range(100)), publish_trades(lake, 500.0)
    key, content = _key(lake, bad.path), bytearray(lake.store.read_bytes(bad.path))
    if damage == "deleted":
        objects.delete_file(key)
    else:
        if damage == "flipped":
            content[len(content) // 2] ^= 0xFF
        kept = content if damage == "flipped" else content[: len(content) // 2]
        with objects.open_output_stream(key) as stream:
            stream.write(bytes(kept))
    assert (damage_of(lake, bad) is None) == (damage == "flipped")
    [found] = verify_days(lake, POLYMARKET, [day], deep=True)[1]
    assert found.entry == bad
    if damage == "flipped":
        return
    scan = scan_table(lake, TRADES, POLYMARKET, [day], quarantine=True)
    assert scan.frame.collect().height == good.rows
    moved = _key(lake, bad.path).replace(
        lake.store.root.removeprefix("s3://"), f"{lake.store.root.removeprefix('s3://')}.quarantine"
    )
    there = objects.get_file_info(moved).type == pafs.FileType.File
    assert there == (damage == "halved")
    [row] = scan_table(lake, COVERAGE, POLYMARKET, [day]).frame.collect().to_dicts()
    assert (row["state"], row["cause"]) == ("untrusted", QUARANTINED)
    assert verify_days(lake, POLYMARKET, [day], deep=True)[1] == []


def test_a_lake_takes_one_kind_of_data_only(server: ObjectStoreOptions, s3_root: str) -> None:
    Lake(s3_root, "simulated", server)
    with pytest.raises(OriginError, match="holds simulated data"):
        Lake(s3_root, "real", server)


def test_a_bucket_that_is_not_there_is_an_error_that_names_it(server: ObjectStoreOptions) -> None:
    with pytest.raises(LakeError, match="s3://no-such-bucket/lake"):
        Lake("s3://no-such-bucket/lake", "real", server)


def test_a_server_that_refuses_the_write_leaves_nothing(
    lake: Lake, day: date, publish_trades: PublishTrades, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, content: bytes) -> None:
        raise OSError("AWS Error ACCESS_DENIED")

    with monkeypatch.context() as patch:
        patch.setattr(lake.store, "_put", refuse)
        with pytest.raises(PublishError, match="ACCESS_DENIED"):
            publish_trades(lake, 1.0)
    assert read_manifest(lake.store, POLYMARKET, day).entries == ()
    assert not list(lake.store.staging().iterdir())


def test_an_hour_is_compacted_and_its_files_are_deleted(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    parts = [publish_trades(lake, 1.0, 2.0), publish_trades(lake, 2.0, 3.0)]
    rows = scan_table(lake, TRADES, POLYMARKET, [day]).frame.collect().sort("ts_recv")
    done = compact_day(lake, POLYMARKET, day, margin=timedelta(), grace=timedelta())
    assert (len(done.merged), len(done.removed), done.failed) == (1, 2, [])
    scan = scan_table(lake, TRADES, POLYMARKET, [day])
    assert scan.frame.collect().sort("ts_recv").equals(rows)
    assert scan.files == 1
    assert all(lake.store.size(entry.path) is None for entry in parts)
    again = compact_day(lake, POLYMARKET, day, margin=timedelta(), grace=timedelta())
    assert (again.merged, again.removed, again.failed) == ([], [], [])
