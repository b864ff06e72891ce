"""Read tables of rows as they stand in their files: every cell is text as it is written.

No type is guessed, and what cannot be read is refused by file and line.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import lzma
import re
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.contracts.declarations import unknown
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
SPACED = re.compile(r'\s+"[^"]*"\s*')
"""A cell with a space before its quotation marks, which therefore do not enclose it."""
MARGINS = "\ufeff\"' "
"""Characters around the names of a first line that stands within another file: its mark, quotation marks, spaces."""
MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


class Dialect(NamedTuple):
    """Declared form of text files; None leaves it to the file."""

    encoding: str | None = None
    quotes: bool | None = None
    separator: str | None = None


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


class _Read(NamedTuple):
    """The contents of one text file."""

    columns: dict[str, list[Any]]
    names: Sequence[str]
    """All columns that it has."""
    lines: list[int]
    notes: list[str]


class _Spelled(float):
    """A JSON number that keeps its text."""

    text: str

    def __new__(cls, text: str) -> _Spelled:
        number = super().__new__(cls, text)
        number.text = text
        return number


SORTS = {str: "text", bool: "boolean", int: "number", _Spelled: "number", list: "list", dict: "object"}


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
        contents = _read_delimited(path, text, dialect, suffix == ".tsv", task.columns)
    else:
        contents = _read_json(path, text, suffix, task)
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


def _read_delimited(path: Path, text: str, dialect: Dialect, tabs: bool, columns: Sequence[str]) -> _Read:
    """Return the cells of a CSV or TSV; quotes as in RFC 4180, in a TSV only if they are declared."""
    separator = dialect.separator or ("\t" if tabs else ",")
    quotes = not tabs if dialect.quotes is None else dialect.quotes
    end = "\n" if "\n" in text else "\r"
    records, lines, spans, blank = _records(path, io.StringIO(text, newline=end), separator, quotes)
    if not records:
        raise HarnessError(f"{path} has no line that names the columns; write one at its beginning")
    (header, *records), (_, *lines) = records, lines
    _check_records(path, header, records, lines, separator)
    if twice := [name for name in columns if header.count(name) > 1]:
        raise HarnessError(f"{path}: {header.count(twice[0])} columns are named {twice[0]}; rename all but one")
    if dialect.quotes is None:
        _check_swallowed(path, text.split(end), spans, separator, len(header))
    notes = []
    if spans:
        count = f"{len(spans):,} of {len(records):,} rows"
        notes.append(f"{path}: {count} span several lines, the first at line {spans[0][0]}")
    if inner := [line for line in blank if line < lines[-1]] if lines else []:
        notes.append(f"{path}: {len(inner):,} blank lines were left out, the first is line {inner[0]}")
    cells = zip(*records, strict=True) if records else ([] for _ in header)
    table = {name: [cell or None for cell in column] for name, column in zip(header, cells, strict=True)}
    if quotes and dialect.quotes is None:
        _check_spaces(path, {name: table.get(name, []) for name in columns}, lines)
    if tabs and not quotes and (quoted := sum(_is_quoted(c) for name in columns for c in table.get(name, ()))):
        notes.append(f"{path}: {quoted:,} cells keep quotation marks around them; Folder(…, quotes=True) drops them")
    return _Read(table, header, lines, notes)


def _check_records(
    path: Path, header: list[str], records: list[list[str]], lines: Sequence[int], separator: str
) -> None:
    """Raise HarnessError for a first line that names no columns or comes again, and for rows of another width."""
    if header[0].startswith("sep=") and len(header) < 3:
        raise HarnessError(f"{path}: its first line, {separator.join(header)!r}, is a note to Excel; remove the line")
    if len(header) == 1 and (other := next((mark for mark in ";\t|," if mark in header[0]), None)):
        raise HarnessError(
            f"{path}: its first line names one column, {header[0]!r}; if {other!r} separates columns, write the file "
            "with commas as .csv, or with tabs as .tsv"
        )
    if wrong := [(line, len(cells)) for line, cells in zip(lines, records, strict=True) if len(cells) != len(header)]:
        raise HarnessError(
            f"{path}: line {wrong[0][0]} has {wrong[0][1]} fields, the first line has {len(header)}, and so it is in "
            f"{len(wrong)} of {len(records)} rows; quote cells that hold {separator!r}, or mend the lines"
            + ("; the first line must name the columns" if len(wrong) == len(records) else "")
        )
    names = [cell.strip(MARGINS) for cell in header]
    again = (line for line, cells in zip(lines, records, strict=True) if cells[-1].strip(MARGINS) == names[-1]
             and [cell.strip(MARGINS) for cell in cells] == names)  # fmt: skip
    if len(header) > 1 and (line := next(again, None)):
        raise HarnessError(f"{path}: line {line} names the columns again, as in joined files; remove it")


def _records(
    path: Path, file: io.StringIO, separator: str, quotes: bool
) -> tuple[list[list[str]], list[int], list[tuple[int, int]], list[int]]:
    """Return cells, first line of each record, first and last line of those over several lines, and blank lines."""
    records, lines, spans, blank, start = [], [], list[tuple[int, int]](), [], 1
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(file, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, strict=True)
    try:
        for cells in reader:
            if cells:
                records.append(cells)
                lines.append(start)
            else:
                blank.append(start)
            if reader.line_num > start:
                spans.append((start, reader.line_num))
            start = reader.line_num + 1
    except csv.Error as error:
        problem = f"{error} (read up to line {reader.line_num})"
        if "unexpected end" in problem:
            problem = "a quotation mark opens that is never closed"
        if "new-line character" in problem:
            problem = "a carriage return stands within a cell, where no line ends; remove it"
        advice = "; write quotation marks within quotes twice, or declare Folder(…, quotes=False)" if quotes else ""
        raise HarnessError(f"{path}: line {start}: {problem}{advice}") from error
    finally:
        csv.field_size_limit(limit)
    return records, lines, spans, blank


def _check_spaces(path: Path, table: dict[str, list[str | None]], lines: Sequence[int]) -> None:
    """Raise HarnessError for quotation marks after a space, which enclose no cell."""
    spaced = {row for cells in table.values() for row, cell in enumerate(cells) if cell and SPACED.fullmatch(cell)}
    if spaced:
        raise HarnessError(
            f"{path}: line {lines[min(spaced)]} has a space before a quotation mark, which therefore encloses no cell, "
            f"as have {len(spaced):,} of {len(lines):,} rows; remove the spaces, or declare Folder(…, quotes=True) if "
            "the marks are text"
        )


def _check_swallowed(
    path: Path, lines: Sequence[str], spans: Iterable[tuple[int, int]], separator: str, width: int
) -> None:
    """Raise HarnessError for a quoted cell whose lines look like rows: two stray quotation marks enclose them."""
    for first, last in spans:
        inner = lines[first : last - 1]
        if width > 1 and len(inner) > 2 and all(line.count(separator) == width - 1 for line in inner):
            raise HarnessError(
                f"{path}: line {first} opens a quotation mark that closes at line {last}, and the {len(inner)} lines "
                "between look like rows; declare Folder(…, quotes=False) if they are, quotes=True if they are one cell"
            )


def _read_json(path: Path, text: str, suffix: str, task: Any) -> _Read:
    """Return the columns of JSON lines, or of an array of objects in a `.json`."""
    decoder = json.JSONDecoder(parse_float=_Spelled, parse_constant=_refuse, object_pairs_hook=_unique)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []

    def decode(part: str, place: str) -> Any:
        try:
            return decoder.decode(part)
        except (ValueError, RecursionError) as error:
            expected = "an array of objects, or one object a line" if suffix == ".json" else "one object a line"
            raise HarnessError(f"{path}: {place}is not JSON: {error}; the file must hold {expected}") from error

    array = suffix == ".json" and text.lstrip().startswith("[")
    if array:
        numbered: Iterable[tuple[int, Any]] = enumerate(decode(text, ""), 1)
    else:
        numbered = ((n, decode(line, f"line {n} ")) for n, line in enumerate(text.split("\n"), 1) if line.strip())
    for number, row in numbered:
        if not isinstance(row, dict):
            place = "element" if array else "line"
            raise HarnessError(
                f"{path}: {place} {number} holds {json.dumps(row)[:80]}, which is not an object; "
                'write each row as {"column": value}'
            )
        rows.append(row)
        lines.append(number)
    if not rows:
        raise HarnessError(f"{path} has no rows; write one object for each")
    if suffix == ".json" and len(rows) == 1 and (lists := _packed_rows(rows[0], task)):
        raise HarnessError(
            f"{path} holds one object, with lists in {', '.join(lists)}, which is one row; write an array with one "
            "object for each row, or one object a line"
        )
    places = [] if array else lines
    keys = dict.fromkeys(name for row in rows for name in row)
    names = dict.fromkeys(name for row in rows[:1000] for name in _flatten(row))
    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(task.columns or keys):
        values = [row.get(name) for row in rows] if name in keys else [_field(row, name) for row in rows]
        if name in keys or name in names or any(value is not None for value in values):
            columns[name] = _spell(path, name, values, places, task)
    return _Read(columns, [*names], places, [])


def _packed_rows(row: dict[str, Any], task: Any) -> list[str]:
    """Return the names of the lists of an object that look like the rows themselves, or their columns."""
    lists = [name for name, value in row.items() if isinstance(value, list)]
    parts = {type(part) for name in lists for part in row[name]}
    is_table = {*lists} >= {*task.columns} and (list in parts or task.kind.label not in ("each", "many"))
    holds_rows = dict in parts and any(name not in row and name.partition(".")[0] not in row for name in task.columns)
    return lists if holds_rows or is_table else []


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"an object has two values of one name among {', '.join(row)}")
    return row


def _field(row: Any, name: str) -> Any:
    """Return field b of column a of a row for the name `a.b`, at any depth; None without it."""
    for part in name.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _flatten(row: dict[str, Any], prefix: str = "") -> list[str]:
    nested = ([f"{prefix}{n}"] if not isinstance(v, dict) else _flatten(v, f"{prefix}{n}.") for n, v in row.items())
    return [name for names in nested for name in names]


def _spell(path: Path, name: str, values: list[Any], lines: Sequence[int], task: Any) -> list[Any]:
    """Return numbers and booleans as they are written, labels in lists too; HarnessError for mixed types."""
    is_label = name == task.label and task.kind.label in ("one", "each", "many")
    each = is_label and task.kind.label != "one"
    parts: Iterable[tuple[int, Any]] = enumerate(values)
    if each and all(isinstance(value, list | None) for value in values):
        parts = ((row, part) for row, value in enumerate(values) for part in value or ())
    first: dict[str, str] = {}
    numbers: dict[Any, tuple[str, str]] = {}
    for row, value in parts:
        if value is None:
            continue
        place = f"line {lines[row]}" if lines else f"row {row}"
        sort = SORTS[type(value)]
        if sort not in first:
            first[sort] = f"{place} has the {sort} {json.dumps(value)[:40]}"
        if is_label and sort == "number":
            earlier, written = numbers.setdefault(value, (place, _written(value)))
            if written != _written(value):
                raise HarnessError(
                    f"{path}: column {name}: {earlier} has {written}, {place} {_written(value)}; write one"
                )
    if len(first) > 1:
        raise HarnessError(f"{path}: column {name} mixes types: {', '.join(first.values())}; write all alike")
    return [[_written(part) for part in v] if each and isinstance(v, list) else _written(v) for v in values]


def _written(value: Any) -> Any:
    """Return a number or a boolean as its text in JSON, and anything else as it is."""
    if isinstance(value, _Spelled):
        return value.text
    return json.dumps(value) if isinstance(value, int) else value


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
        quoted = "; declare Folder(…, quotes=True)" if any(map(_is_quoted, listed)) else ""
        if split in ("validation", "test"):
            quoted += f"; if the rows of {split} have none, move the file out of the folder"
        raise HarnessError(
            f"{path}: {split} has no column {', '.join(missing)}; it has {', '.join(listed)}"
            f"{close[1] + close[2]}{quoted}"
        )


def _is_quoted(cell: str | None) -> bool:
    return cell is not None and len(cell) > 1 and cell[0] == cell[-1] == '"'
