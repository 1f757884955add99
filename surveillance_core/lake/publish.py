"""Adding files to the lake: staged, checked, made visible whole, then listed.

The order is the promise (DESIGN section 3): write to staging, fsync, open again and check, rename,
fsync the directory, append to the manifest, fsync. Whoever holds the rows may let go of them only
after ``publish_rows`` has returned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surveillance_core.lake.errors import LakeError, OriginError, PublishError, SchemaError
from surveillance_core.lake.layout import LAKE_RECORD, UNIVERSE, day_file, universe_file
from surveillance_core.lake.manifest import ManifestEntry, Operation, append_entry
from surveillance_core.lake.packed import packed_lists
from surveillance_core.lake.schemas import SCHEMA_VERSION, Table
from surveillance_core.lake.store import ObjectStoreOptions, Store, open_store
from surveillance_core.markets import Market, Venue, encode_universe

Origin = Literal["real", "simulated"]
COMPRESSION_LEVEL = 3
_decode_record = msgspec.json.Decoder(dict[str, object]).decode


class Lake:
    """A lake opened for reading, or by a writer of one origin.

    Parameters
    ----------
    data_dir
        A local directory or ``s3://bucket/prefix``.
    origin
        What a writer writes. The lake records it when it is made and refuses the other kind;
        None opens for reading alone.
    """

    def __init__(
        self,
        data_dir: str,
        origin: Origin | None = None,
        options: ObjectStoreOptions | None = None,
    ) -> None:
        self.store: Store = open_store(data_dir, options)
        self.origin = origin
        if origin is not None:
            self._claim(origin)

    def _claim(self, origin: Origin) -> None:
        try:
            record = _decode_record(self.store.read_bytes(LAKE_RECORD))
        except FileNotFoundError:
            content = json.dumps({"origin": origin, "schema_version": SCHEMA_VERSION})
            with publishing(self.store, LAKE_RECORD) as staged:
                staged.write_bytes(content.encode() + b"\n")
                self.store.publish_file(staged, LAKE_RECORD)
            return
        except OSError as error:
            raise LakeError(f"{self.store.root} cannot be used as a lake: {error}") from error
        except ValueError as error:
            raise OriginError(
                f"{self.store.root}/{LAKE_RECORD} cannot be read ({error}). "
                "Name another data_dir, or restore that file."
            ) from error
        if record.get("origin") != origin:
            raise OriginError(
                f"{self.store.root} holds {record.get('origin')} data and this process writes "
                f"{origin} data. Name another data_dir, or change mock.enabled."
            )
        if record.get("schema_version") != SCHEMA_VERSION:
            raise OriginError(
                f"{self.store.root} has schema version {record.get('schema_version')}, this "
                f"program writes {SCHEMA_VERSION}. Name another data_dir."
            )


def rows_to_table(table: Table, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    """Arrow table of rows given as tuples in the table's column order.

    Times are integers; lists of numbers are lists, or ``pack_numbers`` of them throughout.

    Raises
    ------
    SchemaError
        Naming the column that does not fit.
    """
    for count in set(map(len, rows)):
        if count != len(table.columns):
            raise SchemaError(f"{table.name}: {count} values a row, {len(table.columns)} columns")
    arrays: list[pa.Array[Any]] = []
    for number, column in enumerate(table.columns):
        # zip(*rows) would make an iterator for each row and have all rows' garbage looked for
        values = list(map(itemgetter(number), rows))
        try:
            if values and isinstance(values[0], bytes) and pa.types.is_list(column.type):
                arrays.append(packed_lists(values, column.type))
            else:
                arrays.append(pa.array(values, type=column.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError) as error:
            raise SchemaError(f"{table.name}.{column.name}: {error}") from error
    return pa.Table.from_arrays(arrays, schema=table.arrow)


def publish_rows(
    lake: Lake,
    table: Table,
    path: str,
    venue: Venue,
    day: date,
    rows: pa.Table | pl.DataFrame,
    *,
    writer: str,
    time_column: str | None = None,
    journal: tuple[int, int] | None = None,
) -> ManifestEntry:
    """Publish rows as one Parquet file under ``path`` and list it; returns the entry.

    Raises
    ------
    SchemaError
        If the rows do not fit the table, hold a NaN, or a null where none may be.
    PublishError
        If the file could not be written and checked; nothing of it is visible.
    """
    arrow = _fitted(table, rows)

    def write(staged: Path) -> None:
        pq.write_table(arrow, staged, **parquet_options(table, COMPRESSION_LEVEL))

    first, last = _time_range(arrow, time_column)
    return publish_written(
        lake,
        table,
        path,
        venue,
        day,
        write,
        writer=writer,
        rows=arrow.num_rows,
        first_us=first,
        last_us=last,
        journal=journal,
    )


def publish_written(
    lake: Lake,
    table: Table,
    path: str,
    venue: Venue,
    day: date,
    write: Callable[[Path], None],
    *,
    writer: str,
    rows: int,
    first_us: int | None,
    last_us: int | None,
    journal: tuple[int, int] | None = None,
    replaces: tuple[str, ...] = (),
) -> ManifestEntry:
    """Publish the file of ``rows`` rows that ``write`` writes to the place it is given, as above.

    Parameters
    ----------
    write
        What it raises stops the publication: nothing of the file is visible.
    replaces
        Paths of the files whose rows these are: they are out of force once this file is listed.

    Raises
    ------
    PublishError
        If the file could not be written and checked; nothing of it is visible.
    """
    with publishing(lake.store, path, ".parquet", writer) as staged:
        write(staged)
        found = pq.read_metadata(staged).num_rows
        if found != rows:
            raise PublishError(f"{path}: wrote {rows} rows, the file holds {found}")
        entry = msgspec.structs.replace(
            published_entry(staged, table.name, path, rows, first_us, last_us, journal),
            replaces=replaces,
        )
        lake.store.publish_file(staged, path)
        append_entry(lake.store, venue, day, writer, entry)
    return entry


def clear_staging(store: Store, writer: str) -> None:
    """Delete what a writer that died was writing; for its successor, which holds its lock."""
    for left in store.staging().glob(f"{writer}_*"):
        left.unlink(missing_ok=True)


def parquet_options(table: Table, compression_level: int) -> dict[str, Any]:
    """How files of a table are written: zstd, page checksums, dictionaries for ids alone."""
    return {
        "compression": "zstd",
        "compression_level": compression_level,
        "use_dictionary": list(table.ids),
        "write_page_checksum": True,
    }


def replace_rows(lake: Lake, table: Table, path: str, rows: pa.Table | pl.DataFrame) -> None:
    """Publish rows as a file of no day, which no manifest lists, in place of an earlier one.

    Raises
    ------
    SchemaError, PublishError
        As ``publish_rows``; an earlier file stays.
    """
    arrow = _fitted(table, rows)
    with publishing(lake.store, path, ".parquet", table.name) as staged:
        pq.write_table(arrow, staged, **parquet_options(table, COMPRESSION_LEVEL))
        found = pq.read_metadata(staged).num_rows
        if found != arrow.num_rows:
            raise PublishError(f"{path}: wrote {arrow.num_rows} rows, the file holds {found}")
        lake.store.publish_file(staged, path)


def publish_day(
    lake: Lake, table: Table, venue: Venue, day: date, rows: pl.DataFrame, *, writer: str
) -> ManifestEntry:
    """Publish a table that is one file a day, replacing the file of an earlier materialisation."""
    return publish_rows(lake, table, day_file(table, venue, day), venue, day, rows, writer=writer)


def publish_universe(
    lake: Lake, venue: Venue, day: date, markets: Sequence[Market], *, writer: str
) -> ManifestEntry:
    """Publish a day's universe, one market a line, replacing an earlier one whole.

    Where it replaces one, that is announced first: whoever dies between moving it to its place and
    listing it leaves a file that the manifest knows to be whole, and ``read_universe`` reads it.
    """
    path = universe_file(venue, day)
    with publishing(lake.store, path) as staged:
        staged.write_bytes(encode_universe(markets))
        entry = published_entry(staged, UNIVERSE, path, len(markets), None, None, None)
        if lake.store.size(path) is not None:
            announced = msgspec.structs.replace(entry, operation=Operation.REPLACE)
            append_entry(lake.store, venue, day, writer, announced)
        lake.store.publish_file(staged, path)
        append_entry(lake.store, venue, day, writer, entry)
    return entry


def _fitted(table: Table, rows: pa.Table | pl.DataFrame) -> pa.Table:
    arrow = rows.to_arrow() if isinstance(rows, pl.DataFrame) else rows
    missing = [name for name in table.arrow.names if name not in arrow.column_names]
    extra = [name for name in arrow.column_names if name not in table.arrow.names]
    if missing or extra:
        raise SchemaError(f"{table.name}: columns missing {missing}, unknown {extra}")
    try:
        arrow = arrow.select(table.arrow.names).cast(table.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SchemaError(f"{table.name}: {error}") from error
    for column in table.columns:
        values = arrow.column(column.name)
        if values.null_count and not column.nullable:
            raise SchemaError(f"{table.name}.{column.name}: null where a value is required")
        numbers = pc.list_flatten(values) if pa.types.is_list(column.type) else values
        if numbers.type == pa.float64() and pc.any(pc.is_nan(numbers)).as_py():
            raise SchemaError(f"{table.name}.{column.name}: NaN; undefined values are null")
    return arrow.sort_by([(name, "ascending") for name in table.sort_by])


def _time_range(arrow: pa.Table, column: str | None) -> tuple[int | None, int | None]:
    if column is None or not arrow.num_rows:
        return None, None
    bounds = pc.min_max(arrow.column(column).cast(pa.int64()))
    return bounds["min"].as_py(), bounds["max"].as_py()


def published_entry(
    staged: Path,
    table: str,
    path: str,
    rows: int,
    first: int | None,
    last: int | None,
    journal: tuple[int, int] | None,
) -> ManifestEntry:
    """How a staged file is to be listed once it is at ``path``; times in microseconds."""
    return ManifestEntry(
        operation=Operation.PUBLISH,
        table=table,
        path=path,
        bytes=staged.stat().st_size,
        digest=file_digest(staged.read_bytes()),
        rows=rows,
        first_us=first,
        last_us=last,
        schema_version=SCHEMA_VERSION,
        published_us=_now_us(),
        journal=journal,
    )


def file_digest(content: bytes) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def publishing(store: Store, path: str, suffix: str = "", writer: str = "") -> Generator[Path]:
    """A place to stage what will be ``path``, gone afterwards; failures as ``PublishError``."""
    staged: Path | None = None
    try:
        staged = store.staging() / f"{writer}_{uuid4().hex}{suffix}"
        yield staged
    except (OSError, pa.ArrowException) as error:
        raise PublishError(f"{store.root}/{path}: {error}") from error
    finally:
        if staged is not None:
            # what cannot be removed now is by the writer's successor: clear_staging
            with suppress(OSError):
                staged.unlink(missing_ok=True)


def _now_us() -> int:
    return int(datetime.now(UTC).timestamp() * 1_000_000)
