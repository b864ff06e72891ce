"""Read tables of rows as they stand in their files: every cell is text as it is written.

No type is guessed, and what cannot be read is refused by file and line.
"""

from __future__ import annotations

import codecs
import lzma
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.contracts.declarations import unknown
from harness.data.delimited import Dialect, is_quoted, read_delimited
from harness.data.json_rows import read_json
from harness.data.layout import PACKED, SUFFIXES, check_pointer, suffix_of
from harness.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset

MAGIC = {
    b"PK\x03\x04": "a zip archive, as an Excel workbook is", b"PAR1": "a parquet file", b"\x1f\x8b": "a gzip file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook", b"%PDF": "a PDF", b"SQLite format 3": "a database",
}  # fmt: skip
"""First bytes of files that hold no text → name of their format."""
CONTROLS = re.compile("[\x80-\x9f]")
"""Characters that Latin-1 and its kin have, and that no text uses: they are letters and marks of Windows-1252."""
MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


class Table(NamedTuple):
    """Rows of one split, and where each stands."""

    rows: Dataset
    files: list[tuple[Path, int, Sequence[int] | None]]
    """File, its number of rows, and their lines where it has lines."""

    def place(self, row: int) -> str:
        """Return file and line of a row, to stand before a message."""
        for path, count, lines in self.files:
            if row < count:
                return f"{path}: line {lines[row]}: " if lines else f"{path}: "
            row -= count
        return ""


def read(files: Sequence[Path], split: str, task: Any, dialect: Dialect) -> tuple[Table, list[str]]:
    """Return the rows of the files with the columns that `task` names, or all, and notes; HarnessError by line."""
    from datasets import concatenate_datasets

    parts, places, notes = list["Dataset"](), [], list[str]()
    for file in files:
        rows, lines, remarks = _read_file(file, split, task, dialect)
        if parts and rows.features != parts[0].features and len(rows) and len(parts[0]):
            ours, theirs = ({n: str(f) for n, f in one.features.items()} for one in (rows, parts[0]))
            raise HarnessError(f"{file} has the columns {ours}, but {files[0]} has {theirs}; write them alike")
        notes += remarks
        if not len(rows) and len(files) > 1:
            notes.append(f"{file} has no rows")
            continue
        parts.append(rows)
        places.append((file, len(rows), lines))
    if not parts:
        raise HarnessError(
            f"{files[0]}: {split} has no rows, as have the other files of it; add some, or leave them out"
        )
    return Table(parts[0] if len(parts) == 1 else concatenate_datasets(parts), places), notes


def _read_file(path: Path, split: str, task: Any, dialect: Dialect) -> tuple[Dataset, Sequence[int] | None, list[str]]:
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise HarnessError(f"{path} has an unknown type; expected one of {', '.join(SUFFIXES)}")
    if not path.stat().st_size:
        raise HarnessError(f"{path} is empty; write its rows, or remove it")
    check_pointer(path)
    if suffix == ".parquet":
        return _read_parquet(path, split, task), None, []
    text, notes = _text(path, dialect.encoding)
    if suffix in (".csv", ".tsv"):
        contents = read_delimited(path, text, dialect, suffix == ".tsv", task.columns)
    else:
        contents = read_json(path, text, suffix, task)
    _check_columns(path, split, [name for name in task.columns if name not in contents.columns], contents.names)
    arrays = {n: _array(path, n, contents.columns[n], contents.lines) for n in task.columns or contents.columns}
    return Dataset(InMemoryTable(pa.table(arrays))), contents.lines, notes + contents.notes


def _text(path: Path, encoding: str | None) -> tuple[str, list[str]]:
    """Return the text of a file and notes; HarnessError for what its encoding does not allow, by line."""
    data = path.read_bytes()
    if unpack := PACKED.get(path.suffix.lower()):
        try:
            data = unpack(data)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise HarnessError(f"{path} is damaged or cut short: {error}; copy it again") from error
    if form := next((name for magic, name in MAGIC.items() if data.startswith(magic) and b"\0" in data), None):
        raise HarnessError(f"{path} is {form}, not text; export its rows as CSV, or give the file its own ending")
    mark, marked = next(((mark, name) for mark, name in MARKS if data.startswith(mark)), (b"", "utf-8"))
    declared = codecs.lookup(encoding).name.removesuffix("-sig") if encoding else marked
    if mark and not marked.startswith(declared):
        raise HarnessError(f"{path} begins with the mark of {marked}, but encoding={encoding!r} is declared; drop it")
    try:
        text = data[len(mark) :].decode(marked if mark else declared)
    except UnicodeError as error:
        start = getattr(error, "start", len(data)) + len(mark)
        end = b"\n" if b"\n" in data else b"\r"
        likely = "cp1252" if re.search(rb"[\x80-\x9f]", data) else "latin-1"
        byte = f"the byte 0x{data[start]:02x}" if start < len(data) else "an incomplete character"
        raise HarnessError(
            f"{path}: line {data.count(end, 0, start) + 1} has {byte}, which is not {declared}; declare "
            f"the encoding of the file, for example Folder(…, encoding={likely!r}), or save it as UTF-8"
        ) from error
    if (at := text.find("\0")) >= 0:
        raise HarnessError(
            f"{path}: line {text.count(chr(10), 0, at) + 1} has a NUL byte; if the file is UTF-16, declare "
            'Folder(…, encoding="utf-16-le"), else mend it'
        )
    if _is_utf8(data, declared):
        return text, [f"{path} is read as {declared}, as declared, but is valid UTF-8"]
    if declared.startswith("iso8859") and (control := CONTROLS.search(text)):
        line = text.count("\n", 0, control.start()) + 1
        raise HarnessError(
            f"{path}: line {line} has the byte 0x{ord(control[0]):02x}, which is no character of {declared}; "
            "if Windows wrote the file, declare Folder(…, encoding='cp1252')"
        )
    return text, []


def _is_utf8(data: bytes, declared: str) -> bool:
    """Return whether bytes beyond ASCII are valid UTF-8, though another encoding is declared."""
    try:
        return declared not in ("utf-8", "utf-16", "utf-32") and not data.isascii() and bool(data.decode())
    except UnicodeError:
        return False


def _array(path: Path, name: str, values: list[Any], lines: Sequence[int]) -> Any:
    """Return the values as an Arrow array; HarnessError for values that it cannot hold."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        problem, place = error, ""
        for row, value in enumerate(values):
            try:
                pa.array([value])
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as own:
                problem, place = own, f"line {lines[row]}: " if lines else f"row {row}: "
                break
        shown = f" ({repr(values[row])[:80]})" if place else ""
        raise HarnessError(f"{path}: {place}column {name}{shown}: {problem}; mend the value") from problem


def _read_parquet(path: Path, split: str, task: Any) -> Dataset:
    """Return the task's columns of a parquet file, with the features that `datasets` has written into it."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset, DatasetInfo, Features
    from datasets.table import InMemoryTable

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            roots = dict.fromkeys(name if name in names else name.partition(".")[0] for name in task.columns or names)
            _check_columns(path, split, [name for name in roots if name not in names], names)
            if twice := [name for name in roots if names.count(name) > 1]:
                raise HarnessError(f"{path}: {names.count(twice[0])} columns are named {twice[0]}; rename all but one")
            table = file.read([*roots])
            features = Features.from_arrow_schema(file.schema_arrow)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HarnessError(f"{path} cannot be read as parquet: {error}; copy or write it again") from error
    table = table.select([*roots])
    for at, field in enumerate(table.schema):
        if (kind := _plain(field.type)) != field.type:
            table = table.set_column(at, field.name, table.column(at).cast(kind))
            features[field.name] = Features.from_arrow_schema(pa.schema([(field.name, kind)]))[field.name]
    info = DatasetInfo(features=Features({name: features[name] for name in roots}))
    return Dataset(InMemoryTable(table.replace_schema_metadata(None)), info=info)


def _plain(kind: Any) -> Any:
    """Return the Arrow type without dictionaries and variants of text."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_list(kind):
        return pa.list_(inner) if (inner := _plain(kind.value_type)) != kind.value_type else kind
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind


def _check_columns(path: Path, split: str, missing: Sequence[str], names: Iterable[str]) -> None:
    if missing:
        listed = [name for name in names if name]
        close = unknown("column", missing[0], listed).partition("; did")
        quoted = "; declare Folder(…, quotes=True)" if any(map(is_quoted, listed)) else ""
        if split in ("validation", "test"):
            quoted += f"; if the rows of {split} have none, move the file out of the folder"
        raise HarnessError(
            f"{path}: {split} has no column {', '.join(missing)}; it has {', '.join(listed)}"
            f"{close[1] + close[2]}{quoted}"
        )
