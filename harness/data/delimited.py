"""Read the cells of CSV and TSV files, and refuse by line what is no table."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import HarnessError

MARGINS = "\ufeff\"' "
"""Characters around the names of a first line that stands within another file: its mark, quotation marks, spaces."""
SPACED = re.compile(r'\s+"[^"]*"\s*')
"""A cell with a space before its quotation marks, which therefore do not enclose it."""


class Dialect(NamedTuple):
    """Declared form of text files; None leaves it to the file."""

    encoding: str | None = None
    quotes: bool | None = None
    separator: str | None = None


class Contents(NamedTuple):
    """The contents of one text file."""

    columns: dict[str, list[Any]]
    names: Sequence[str]
    """All columns that it has."""
    lines: list[int]
    notes: list[str]


def read_delimited(path: Path, text: str, dialect: Dialect, tabs: bool, columns: Sequence[str]) -> Contents:
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
    if tabs and not quotes and (quoted := sum(is_quoted(c) for name in columns for c in table.get(name, ()))):
        notes.append(f"{path}: {quoted:,} cells keep quotation marks around them; Folder(…, quotes=True) drops them")
    return Contents(table, header, lines, notes)


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


def is_quoted(cell: str | None) -> bool:
    """Return whether quotation marks enclose the cell, which a file read without quotes keeps."""
    return cell is not None and len(cell) > 1 and cell[0] == cell[-1] == '"'
