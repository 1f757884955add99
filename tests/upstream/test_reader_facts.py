"""Facts about Parquet readers that the lake's rules rest on."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def _write(path: Path, **columns: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, write_page_checksum=True)


def test_a_truncated_file_fails_a_whole_glob_in_both_readers(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", x=[1])
    _write(tmp_path / "b.parquet", x=[2])
    whole = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(duckdb.Error):
        duckdb.sql(f"select * from '{tmp_path}/*.parquet'").fetchall()
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_parquet(tmp_path / "*.parquet")


def test_page_checksums_find_a_flipped_byte_when_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    _write(path, x=list(range(10_000)))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises((OSError, pa.ArrowException)):
        pq.read_table(path, page_checksum_verification=True)


def test_polars_infers_another_type_for_hours_than_duckdb(tmp_path: Path) -> None:
    _write(tmp_path / "hour=08" / "a.parquet", x=[1])
    (duck,) = duckdb.sql(
        f"select typeof(hour) from read_parquet('{tmp_path}/*/*.parquet', hive_partitioning=true)"
    ).fetchall()
    assert duck == ("VARCHAR",)
    frame = pl.read_parquet(tmp_path, hive_partitioning=True)
    assert frame.schema["hour"] == pl.Int64
