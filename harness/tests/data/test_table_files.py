"""Tables as they stand in files: every file and every cell counts, and what cannot be read is refused by place."""

import bz2
import csv
import datetime
import decimal
import gzip
import io
import json
import lzma
import os
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.sources import Folder
from harness.data import reading, tables
from harness.data.delimited import Dialect
from harness.errors import HarnessError
from harness.kinds import question_answering, text_classification, token_classification
from harness.spec import Task

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"
WORDS = {"kind": token_classification, "metric": "entity-f1"}


def task(path, **changes):
    arguments = {
        "name": "toy", "kind": text_classification, "dataset": Folder(str(path)), "inputs": ("text",),
        "label": "topic", "metric": "accuracy",
    }  # fmt: skip
    return Task(**(arguments | changes))


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, kind=None, **options):
    """Return split → rows as pairs of text and label, and the notes."""
    parts, _, notes = reading.read(task(path, dataset=Folder(str(path), **options), **(kind or {})), path.parent)
    return {name: list(zip(rows["text"], rows["label"], strict=True)) for name, rows in parts.items()}, notes


def rows(path, **options):
    return read(path, **options)[0]["train"]


def refusal(path, kind=None, **options):
    with pytest.raises(HarnessError) as caught:
        read(path, kind, **options)
    assert str(caught.value).startswith("task toy: "), caught.value
    return str(caught.value)


def table(first, count=3):
    """A CSV of `count` rows, numbered from `first`."""
    return "text,topic\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(first, first + count))


# Paths


@pytest.mark.parametrize("name", ["[d]", "a*b", "what?", "{x,y}", "[!a]", "**", "a b", "ü", "%20", "#1", "hf:", "~"])
def test_paths_are_never_patterns(name, tmp_path):
    for other in ("d", "axb", "whatx", "x", "b", "ab"):
        put(tmp_path / other / "train.csv", table(50))
        put(tmp_path / f"{other}.csv", table(60))
    put(tmp_path / name / "train.csv", table(0))
    put(tmp_path / f"{name}.csv", table(0))
    assert ["row 0", "row 1", "row 2"] == [text for text, _ in rows(tmp_path / name)]
    assert ["row 0", "row 1", "row 2"] == [text for text, _ in rows(tmp_path / f"{name}.csv")]


# Files and splits


@pytest.mark.parametrize(
    "names",
    [
        ("retrain.csv", "train-line.csv", "devices.csv"),
        ("my_test_rows.csv", "contest.csv"),
        ("__x__/rows.csv", "y/rows.csv"),
        ("trainspotting.csv", "test-drive.csv", "valid_users.csv"),
        ("2020/a.CSV", "2021/b.csv"),
    ],
    ids=str,
)
def test_files_without_split_names_are_one_table(names, tmp_path):
    for number, name in enumerate(names):
        put(tmp_path / "d" / name, table(number * 3))
    parts, notes = read(tmp_path / "d")
    assert {"train": 3 * len(names)} == {name: len(part) for name, part in parts.items()}
    assert f"{len(names)} files ({', '.join(sorted(names))}) read as one table" in notes[0]


@pytest.mark.parametrize(
    ("names", "splits", "note"),
    [
        (["train.csv", "test.csv"], ["test", "train"], ""),
        (["train-00000-of-00002.csv", "train-00001-of-00002.csv", "test_1.csv"], ["test", "train", "train"], ""),
        (["train/a.csv", "train/b.csv", "test/my_train.csv"], ["test", "train", "train"], ""),
        (["data/train.csv", "data/dev.csv"], ["validation", "train"], "1 file (data/dev.csv) taken as validation"),
        (["Training.csv", "testing.csv"], ["train", "test"], "1 file (Training.csv) taken as train"),
        (["en/train.csv", "de/train.csv"], ["train", "train"], ""),
    ],
    ids=str,
)
def test_exact_names_are_splits(names, splits, note, tmp_path):
    for number, name in enumerate(names):
        put(tmp_path / "d" / name, table(number * 3))
    parts, notes = read(tmp_path / "d")
    assert {name: 3 * splits.count(name) for name in splits} == {name: len(part) for name, part in parts.items()}
    assert any(note in said for said in notes) if note else not notes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train.csv", "more_rows.csv"],
            "1 file (train.csv) named after a split, and 1 file (more_rows.csv) not; name",
        ),
        (["train.csv", "dev.csv", "val.csv"], "2 files (dev.csv, val.csv) for validation under different names"),
        (["train.csv", "train_2.csv"], "2 files (train.csv, train_2.csv) for train under different names"),
        (["train.csv", "train.jsonl"], "train.csv and train.jsonl have one name"),
        (["Train.csv", "train.csv"], "Train.csv and train.csv have one name"),
        (["train/test.csv", "train/a.csv"], "is named after test and train; leave one of the names"),
        (["train-00000-of-00003.csv", "train-00002-of-00003.csv"], "train has 2 of 3 shards; add the others"),
        (["test.csv"], "has the splits test; name its files"),
        (["rows.csv", "rows.xlsx", "b.txt"], "2 files (b.txt, rows.xlsx) of 3 of an unknown type"),
        (["rows.csv", "photo.png"], "1 file (photo.png) of 2 of an unknown type"),
        (["README.md", ".train.csv"], "has no file of rows"),
        (["imdb_train.csv", "imdb_test.csv"], "2 files (imdb_test.csv, imdb_train.csv) have test and train within"),
        (["\udcff.csv"], "\\udcff.csv: this name is not UTF-8; rename the file"),
    ],
    ids=str,
)
def test_unclear_folders_are_refused_with_counts(names, message, tmp_path):
    for number, name in enumerate(names):
        put(tmp_path / "d" / name, table(number * 3))
    assert message in refusal(tmp_path / "d")


def test_files_without_rows_are_noted(tmp_path):
    for name in ("train.csv", "README", "LICENSE.txt", "card.md", ".old.csv", ".git/x", "dataset_infos.json"):
        put(tmp_path / "d" / name, table(0))
    parts, notes = read(tmp_path / "d")
    assert 3 == len(parts["train"])
    assert [
        "1 file (.old.csv) hidden, left out",
        "4 files (LICENSE.txt, README, card.md and 1 more) named as files",
    ] == [note.removeprefix(f"{tmp_path / 'd'}: ").removesuffix(" without rows, left out") for note in notes]


@pytest.mark.parametrize("target", ["gone.csv", "."])
def test_links_that_are_not_followed_are_refused(target, tmp_path):
    put(tmp_path / "d" / "train.csv", table(0))
    (tmp_path / "d" / "more").symlink_to(target)
    assert "more is a link that is not followed" in refusal(tmp_path / "d")


def test_files_of_one_table_must_agree(tmp_path):
    put(tmp_path / "d" / "a.csv", table(0))
    put(tmp_path / "d" / "b.csv", "text,team\nx,a\n")
    assert "b.csv: train has no column topic; it has text, team" in refusal(tmp_path / "d")
    put(tmp_path / "d" / "b.csv", "topic,note,text\n")
    parts, notes = read(tmp_path / "d")
    assert 3 == len(parts["train"])
    assert any("b.csv has no rows" in note for note in notes)
    put(tmp_path / "d" / "b.csv", "topic,note,text\nb,,row 7\n")
    assert ("row 7", "b") == rows(tmp_path / "d")[-1]


# Cells

SPELLED = [
    "3.1",
    "3.10",
    "01",
    "1",
    "true",
    "True",
    "1e5",
    "100000",
    "2020-01-02",
    "NA",
    "None",
    "NaN",
    "null",
    "-",
    " x ",
]


def test_cells_of_csv_are_text_as_written(tmp_path):
    content = "text,topic\n" + "".join(f"{cell},{cell}\n" for cell in SPELLED)
    put(tmp_path / "rows.csv", content)
    put(tmp_path / "rows.tsv", content.replace(",", "\t"))
    assert [(cell, cell) for cell in SPELLED] == rows(tmp_path / "rows.csv") == rows(tmp_path / "rows.tsv")


@pytest.mark.parametrize(
    "labels", [["3.1", "3.20", "1e5", "100000.5", "7"], ["true", "false"], ['"01"', '"1"', '"true"'], ["1", "2", "10"]]
)
@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_json_values_keep_their_spelling(labels, suffix, tmp_path):
    lines = [f'{{"text": "row {n}", "topic": {label}}}' for n, label in enumerate(labels)]
    content = "\n".join(lines) if suffix == "jsonl" else f"[{','.join(lines)}]"
    put(tmp_path / f"rows.{suffix}", content)
    assert [label.strip('"') for label in labels] == [label for _, label in rows(tmp_path / f"rows.{suffix}")]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", '"1"'], 'mixes types: line 1 has the number 1, line 2 has the text "1"'),
        (["true", '"true"'], 'mixes types: line 1 has the boolean true, line 2 has the text "true"'),
        (['"a"'] * 900 + ["3"], 'mixes types: line 1 has the text "a", line 901 has the number 3'),
        (['"a"', '["a"]'], 'mixes types: line 1 has the text "a", line 2 has the list ["a"]'),
        (["1", "1.0"], "line 1 has 1, line 2 1.0; write one"),
        (["3.1", "3.10"], "line 1 has 3.1, line 2 3.10; write one"),
        (['"a"', "NaN"], "line 2 is not JSON: NaN is no number of JSON"),
        (['"a"', '"\\ud800"'], "line 2: column topic ('\\ud800'): 'utf-8' codec can't encode"),
        (['"a"', "null"], "line 2: row 1 of train has no value in topic, as have 1 of 2 rows"),
    ],
)
def test_mixed_json_columns_are_refused_by_line(values, message, tmp_path):
    put(tmp_path / "rows.jsonl", "\n".join(f'{{"text": "row {n}", "topic": {v}}}' for n, v in enumerate(values)))
    assert message in refusal(tmp_path / "rows.jsonl")


def test_labels_of_words_keep_their_spelling(tmp_path):
    put(tmp_path / "rows.jsonl", '{"text": ["a", "b"], "topic": [0, 3]}\n{"text": ["c"], "topic": [10]}\n')
    assert [(["a", "b"], ["0", "3"]), (["c"], ["10"])] == read(tmp_path / "rows.jsonl", WORDS)[0]["train"]
    put(tmp_path / "mixed.jsonl", '{"text": ["a", "b"], "topic": ["O", 3]}\n')
    assert 'line 1 has the text "O", line 1 has the number 3' in refusal(tmp_path / "mixed.jsonl", WORDS)


def test_answers_of_questions_stay_numbers(tmp_path):
    put(tmp_path / "rows.jsonl", '{"q": "which?", "text": "a b", "topic": {"text": ["b"], "answer_start": [2]}}\n' * 2)
    kind = {"kind": question_answering, "metric": "exact-match", "inputs": ("q", "text")}
    assert ("a b", {"text": ["b"], "answer_start": [2]}) == read(tmp_path / "rows.jsonl", kind)[0]["train"][0]


def test_field_of_an_object_keeps_its_spelling(tmp_path):
    put(tmp_path / "rows.jsonl", '{"text": "a", "told": {"topic": 3.10}}\n{"text": "b", "told": {"topic": 4}}\n')
    assert ["3.10", "4"] == [t for _, t in read(tmp_path / "rows.jsonl", {"label": "told.topic"})[0]["train"]]


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (pa.array([1, 2, 10]), ["1", "2", "10"]),
        (pa.array([1.0, 2.0, 0.5]), ["1", "2", "0.5"]),
        (pa.array([0.1, 0.2, 0.3], pa.float32()), ["0.1", "0.2", "0.3"]),
        (pa.array([True, False, True]), ["true", "false", "true"]),
        (pa.array(["3.1", "3.10", "01"]).dictionary_encode(), ["3.1", "3.10", "01"]),
        (pa.array(["a", "b", "c"], pa.large_string()), ["a", "b", "c"]),
        (pa.array([b"a", b"b", b"c"]), ["a", "b", "c"]),
        (pa.array([decimal.Decimal("3.10"), decimal.Decimal("3.20"), None]).drop_null(), ["3.10", "3.20"]),
        (pa.array([datetime.date(2020, 1, 2)] * 3), ["2020-01-02"] * 3),
    ],
    ids=str,
)
def test_parquet_values_become_plain_text(column, labels, tmp_path):
    texts = pa.array([f"row {n}" for n in range(len(column))]).dictionary_encode()
    pq.write_table(pa.table({"text": texts, "topic": column}), tmp_path / "rows.parquet")
    assert labels == [label for _, label in rows(tmp_path / "rows.parquet")]


# Quotes and lines


def test_tsv_is_read_without_quoting(tmp_path):
    lines = [f"some text {n}\t{'ab'[n % 2]}" for n in range(1200)]
    lines[200] = '"' + lines[200]
    lines[800] = lines[800].replace(" ", '" ', 1)
    put(tmp_path / "rows.tsv", "\n".join(["text\ttopic", *lines]) + "\n")
    assert 1200 == len(rows(tmp_path / "rows.tsv"))
    assert '"some text 200' == rows(tmp_path / "rows.tsv")[200][0]


def test_tsv_with_declared_quotes_spans_lines(tmp_path):
    put(tmp_path / "rows.tsv", 'text\ttopic\n"a\tb\nc"\ta\n"d ""e"""\tb\n')
    parts, notes = read(tmp_path / "rows.tsv", quotes=True)
    assert [("a\tb\nc", "a"), ('d "e"', "b")] == parts["train"]
    assert any("1 of 2 rows span several lines, the first at line 2" in note for note in notes)
    put(tmp_path / "rows.tsv", '"text"\t"topic"\n"a"\t"b"\n')
    assert refusal(tmp_path / "rows.tsv").endswith("quotes=True)")
    put(tmp_path / "rows.tsv", 'text\ttopic\n"a"\t"b"\n')
    assert any("2 cells keep quotation marks around them" in note for note in read(tmp_path / "rows.tsv")[1])


def test_lines_swallowed_by_quotes_are_refused(tmp_path):
    lines = [f"some text {n},{'ab'[n % 2]}" for n in range(100)]
    lines[20], lines[80] = '"' + lines[20], lines[80].replace(",", '",')
    put(tmp_path / "rows.csv", "\n".join(["text,topic", *lines]))
    assert "line 22 opens a quotation mark that closes at line 82, and the 59 lines" in refusal(tmp_path / "rows.csv")
    assert 40 == len(rows(tmp_path / "rows.csv", quotes=True))
    assert 100 == len(rows(tmp_path / "rows.csv", quotes=False))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,topic\nx,a\n"y,b\nz,a\n', "line 3: a quotation mark opens that is never closed"),
        ('text,topic\nx,a\n"y" z,b\n', "line 3: ',' expected after '\"'"),
        ("text,topic\nx,a\ny, z,b\nw\n", "line 3 has 3 fields, the first line has 2, and so it is in 2 of 3 rows"),
        (
            "# of 2020\ntext,topic\nx,a\n",
            "in 2 of 2 rows; quote cells that hold ',', or mend the lines; the first line must",
        ),
        ("sep=;\ntext;topic\nx;a\n", "its first line, 'sep=;', is a note to Excel; remove the line"),
        ("sep=,\ntext,topic\nx,a\n", "its first line, 'sep=,', is a note to Excel; remove the line"),
        ("text,topic\nx,a\ntext,topic\ny,b\n", "line 3 names the columns again"),
        ("text,topic\nx,a\n\ufefftext,topic\ny,b\n", "line 3 names the columns again"),
        ('text,topic\nx,a\n\ufeff"text","topic"\ny,b\n', "line 3 names the columns again"),
        (
            'text,topic\nx,a\n"y", "b"\n',
            "line 3 has a space before a quotation mark, which therefore encloses no cell, as",
        ),
        (
            b"PK\x03\x04\0\0 of a workbook",
            "is a zip archive, as an Excel workbook is, not text; export its rows as CSV",
        ),
        ("text;topic\nx;a\n", "its first line names one column, 'text;topic'; if ';' separates columns"),
        ("text\ttopic\nx\ta\n", "if '\\t' separates columns"),
        ("text,topic,text\nx,a,y\n", "2 columns are named text; rename all but one"),
        ("Text,topic\nx,a\n", "train has no column text; it has Text, topic; did you mean 'Text'?"),
        ("text,topic\nx,a\ny,\0\n", "line 3 has a NUL byte"),
        ("text,topic\nx,a\ny\rz,b\n", "line 3: a carriage return stands within a cell, where no line ends; remove it"),
        ("", "rows.csv is empty"),
        ("\n\n", "has no line that names the columns"),
        ("text,topic\nx,a\n\ny,\n", "line 4: row 1 of train has no value in topic"),
        (POINTER, "is a pointer of Git LFS, not the file itself; run: git lfs pull"),
        (
            "text,topic\nx,Gr\xfc\xdfe\n".encode("latin-1"),
            "line 2 has the byte 0xfc, which is not utf-8; declare the enc",
        ),
        ("text,topic\rx,a\ry,Gr\xfc\xdfe\r".encode("latin-1"), "line 3 has the byte 0xfc"),
        ("text,topic\nx,a\n".encode("utf-16-le"), "line 1 has a NUL byte; if the file is UTF-16"),
        ("text,topic\nx,a\n".encode("utf-16")[:-1], "which is not utf-16-le"),
    ],
    ids=str,
)
def test_broken_csv_is_refused_by_line(content, message, tmp_path):
    assert f"{put(tmp_path / 'rows.csv', content)}" in refusal(tmp_path / "rows.csv")
    assert message in refusal(tmp_path / "rows.csv")


def test_index_column_without_a_name_is_ignored(tmp_path):
    put(tmp_path / "rows.csv", ",text,topic,note,note\n0,x,a,,\n1,y,b,,\n")
    assert [("x", "a"), ("y", "b")] == rows(tmp_path / "rows.csv")


def test_blank_lines_are_counted(tmp_path):
    put(tmp_path / "rows.csv", "text,topic\nx,a\n\ny,b\n\n\n")
    parts, notes = read(tmp_path / "rows.csv")
    assert 2 == len(parts["train"])
    assert any("1 blank lines were left out, the first is line 3" in note for note in notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_are_recognised(encoding, end, tmp_path):
    put(tmp_path / "rows.csv", end.join(["text,topic", "Grüße,a", "łódź 日本,b", ""]).encode(encoding))
    assert [("Grüße", "a"), ("łódź 日本", "b")] == rows(tmp_path / "rows.csv")


def test_controls_of_latin_1_are_refused(tmp_path):
    put(tmp_path / "rows.csv", "text,topic\nx,a\n“y”,b\n".encode("cp1252"))
    message = "line 3 has the byte 0x93, which is no character of iso8859-1; if Windows wrote"
    assert message in refusal(tmp_path / "rows.csv", encoding="latin-1")
    assert [("x", "a"), ("“y”", "b")] == rows(tmp_path / "rows.csv", encoding="cp1252")


def test_one_object_a_file_is_one_row(tmp_path):
    for number in range(2):
        put(tmp_path / "d" / f"{number}.json", json.dumps({"text": f"t{number}", "topic": "a", "marks": [{"at": 1}]}))
    assert [("t0", "a"), ("t1", "a")] == rows(tmp_path / "d")


def test_split_without_labels_is_refused_with_advice(tmp_path):
    put(tmp_path / "d" / "train.csv", table(0))
    put(tmp_path / "d" / "test.csv", "text\nx\n")
    assert "test has no column topic; it has text; if the rows of test have none, move" in refusal(tmp_path / "d")


def test_declared_encoding_is_used(tmp_path):
    put(tmp_path / "rows.csv", "text,topic\nGrüße,a\nx,b\n".encode("latin-1"))
    assert [("Grüße", "a"), ("x", "b")] == rows(tmp_path / "rows.csv", encoding="latin-1")
    put(tmp_path / "rows.csv", "text,topic\nGrüße,a\nx,b\n")
    assert any("as declared, but is valid UTF-8" in note for note in read(tmp_path / "rows.csv", encoding="latin-1")[1])
    put(tmp_path / "rows.csv", "text,topic\nGrüße,a\nx,b\n".encode("utf-8-sig"))
    assert "begins with the mark of utf-8, but" in refusal(tmp_path / "rows.csv", encoding="latin-1")
    for declared in ("utf-8", "utf-8-sig", "UTF8"):
        assert ("Grüße", "a") == rows(tmp_path / "rows.csv", encoding=declared)[0]
    for wrong in ("latin-99", "hex"):
        with pytest.raises(HarnessError, match="name an encoding of Python"):
            Folder("rows.csv", encoding=wrong)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_packed_files_are_read_or_refused(suffix, pack, tmp_path):
    packed = pack(table(0, 1000).encode())
    put(tmp_path / f"rows.csv.{suffix}", packed)
    assert 1000 == len(rows(tmp_path / f"rows.csv.{suffix}"))
    put(tmp_path / f"cut.csv.{suffix}", packed[: len(packed) // 2])
    put(tmp_path / f"no.csv.{suffix}", b"text,topic\n")
    for name in ("cut", "no"):
        with pytest.raises(HarnessError, match="is damaged or cut short") as caught:
            rows(tmp_path / f"{name}.csv.{suffix}")
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", '{"text": "x", "topic": "a"}\n{"text": "y", "to', "line 2 is not JSON: Unterminated string"),
        ("rows.jsonl", '{"text": "x", "topic": "a"}{"text": "y"}\n', "line 1 is not JSON: Extra data"),
        ("rows.jsonl", '["x", "a"]\n', 'line 1 holds ["x", "a"], which is not an object'),
        ("rows.jsonl", '{"text": "x", "topic": "a"}\n\n3\n', "line 3 holds 3, which is not an object"),
        ("rows.jsonl", '{"text": "x", "topic": "a", "text": "y"}\n', "line 1 is not JSON: an object has two values of"),
        ("rows.jsonl", '{"text": "x", "topic": "a"}\n{"text": "y"}\n', "line 2: row 1 of train has no value in topic"),
        ("rows.jsonl", '{"text": "x", "topik": "a"}\n', "no column topic; it has text, topik; did you mean 'topik'?"),
        ("rows.jsonl", POINTER, "is a pointer of Git LFS"),
        ("rows.json", '[{"text": "x"}, 3]', "element 2 holds 3, which is not an object"),
        ("rows.json", '[{"text": "x"},', "is not JSON: Expecting value: line 1 column 16"),
        (
            "rows.json",
            '{"text": [["x"]], "topic": [["a"]]}',
            "holds one object, with lists in text, topic, which is one",
        ),
        ("rows.json", '{\n "text": {"0": "x"}\n}', "the file must hold an array of objects, or one object a line"),
        (
            "rows.json",
            '{"text": ["x", "y"], "topic": ["a", "b"]}',
            "holds one object, with lists in text, topic, which is",
        ),
        (
            "rows.json",
            '{"version": 1, "data": [{"text": "x"}]}',
            "holds one object, with lists in data, which is one row",
        ),
        ("rows.parquet", POINTER, "is a pointer of Git LFS"),
        ("rows.parquet", b"PAR1 and no more", "cannot be read as parquet: "),
        ("rows.parquet", b"", "rows.parquet is empty"),
    ],
    ids=str,
)
def test_broken_files_are_refused_by_place(name, content, message, tmp_path):
    assert f"{put(tmp_path / name, content)}" in refusal(tmp_path / name)
    assert message in refusal(tmp_path / name)


def test_causes_are_kept(tmp_path):
    put(tmp_path / "rows.parquet", b"PAR1 and no more")
    with pytest.raises(HarnessError) as caught:
        rows(tmp_path / "rows.parquet")
    assert isinstance(caught.value.__cause__, pa.ArrowInvalid)


def test_damaged_pages_of_parquet_are_refused(tmp_path):
    texts = [f"row {n} {os.urandom(20).hex()}" for n in range(5000)]
    pq.write_table(
        pa.table({"text": texts, "topic": ["a", "b"] * 2500}), tmp_path / "rows.parquet", write_page_checksum=True
    )
    data = bytearray((tmp_path / "rows.parquet").read_bytes())
    data[200:4000] = bytes(3800)
    put(tmp_path / "rows.parquet", bytes(data))
    assert "cannot be read as parquet" in refusal(tmp_path / "rows.parquet")


def test_line_separators_within_texts_are_kept(tmp_path):
    text = "a\u2028b\x0bc\x1cd\x85e"
    put(tmp_path / "rows.jsonl", json.dumps({"text": text, "topic": "a"}, ensure_ascii=False) + "\n")
    put(tmp_path / "rows.csv", f"text,topic\n{text},a\n")
    put(tmp_path / "rows.tsv", f"text\ttopic\n{text}\ta\n")
    for suffix in ("jsonl", "csv", "tsv"):
        assert [(text, "a")] == rows(tmp_path / f"rows.{suffix}")


# Round trips

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
SPEC = SimpleNamespace(columns=("text", "topic"), label="topic", kind=SimpleNamespace(label="one"))


def columns(path, **options):
    part, _ = tables.read([path], "train", SPEC, Dialect(**options))
    return list(zip(part.rows["text"], part.rows["topic"], strict=True))


@settings(max_examples=150, deadline=None)
@given(data=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), end=st.sampled_from(["\n", "\r\n"]))
def test_csv_gives_back_what_was_written(data, end, tmp_path_factory):
    out = io.StringIO(newline="")
    # Python's writer leaves a lone carriage return unquoted, which no reader can tell from a line's end.
    lone = end == "\n" and any("\r" in cell for row in data for cell in row)
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL if lone else csv.QUOTE_MINIMAL)
    writer.writerows([("text", "topic"), *data])
    path = put(tmp_path_factory.mktemp("csv") / "rows.csv", out.getvalue())
    assert data == columns(path, quotes=True)


@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(st.tuples(*[TEXT.filter(lambda t: not {*t} & {"\t", "\n", "\r"})] * 2), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_tsv_gives_back_what_was_written(data, end, tmp_path_factory):
    lines = ["text\ttopic", *("\t".join(row) for row in data), ""]
    assert data == columns(put(tmp_path_factory.mktemp("tsv") / "rows.tsv", end.join(lines)))


@settings(max_examples=150, deadline=None)
@given(data=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), ascii_only=st.booleans(), array=st.booleans())
def test_json_gives_back_what_was_written(data, ascii_only, array, tmp_path_factory):
    objects = [json.dumps({"text": text, "topic": topic}, ensure_ascii=ascii_only) for text, topic in data]
    content = f"[{','.join(objects)}]" if array else "\n".join(objects)
    path = put(tmp_path_factory.mktemp("json") / ("rows.json" if array else "rows.jsonl"), content)
    assert data == columns(path)


@settings(max_examples=100, deadline=None)
@given(numbers=st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=3), min_size=1, max_size=5))
def test_json_numbers_are_never_rewritten(numbers, tmp_path_factory):
    lines = [f'{{"text": {number}, "topic": "a"}}' for number in numbers]
    path = put(tmp_path_factory.mktemp("numbers") / "rows.jsonl", "\n".join(lines))
    assert [str(number) for number in numbers] == [text for text, _ in columns(path)]


def test_columns_of_one_name_in_parquet_are_refused(tmp_path):
    columns = [["x", "y"], ["a", "b"], ["c", "d"]]
    pq.write_table(pa.table(list(map(pa.array, columns)), names=["text", "topic", "topic"]), tmp_path / "rows.parquet")
    assert "rows.parquet: 2 columns are named topic; rename all but one" in refusal(tmp_path / "rows.parquet")


@pytest.mark.parametrize(("text", "encoding"), [("Gr\xfc\xdfe", "latin-1"), ("it\u2019s", "cp1252")])
def test_the_likely_encoding_is_proposed(text, encoding, tmp_path):
    put(tmp_path / "rows.csv", f"text,topic\n{text},a\n".encode(encoding))
    assert f"for example Folder(…, encoding='{encoding}')" in refusal(tmp_path / "rows.csv")


def test_a_number_within_a_list_of_words_is_shown(tmp_path):
    put(tmp_path / "rows.jsonl", '{"text": ["a"], "topic": "a"}\n{"text": ["b", 5], "topic": "b"}\n')
    assert "rows.jsonl: line 2: column text (['b', 5]): " in refusal(tmp_path / "rows.jsonl")
