"""A saved result is loaded unchanged, anything else is refused, and no reader sees half a file."""

import json
import os
import random
import signal
import tempfile
import time
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pandas as pd
import pytest
from factory import failed, result, series
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.results import store
from harness.results.schema import SCHEMA, Result, Series, Workload
from harness.spec import Gate
from harness.util.files import write_atomically
from harness.util.machine import Environment

LAW = settings(max_examples=40)

texts = st.text(max_size=12)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
counts = st.integers(0, 2**63 - 1)
reals = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | reals | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
infos = st.dictionaries(texts, plain, max_size=2)


BY_TYPE = {int: counts, float: reals, str: texts, Any: plain}


def values(kind):
    """Return values of a field's type, every optional field included."""
    if kind in BY_TYPE:
        return BY_TYPE[kind]
    arguments = get_args(kind)
    if is_dataclass(kind):
        return built(kind)
    if get_origin(kind) is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if get_origin(kind) is dict:
        return st.dictionaries(texts, values(arguments[1]), max_size=2)
    return st.one_of(map(values, arguments)) if type(None) in arguments else st.from_type(kind)


def built(kind, **own):
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: values(hint) for name, hint in hints.items() if name != "schema"} | own)


@st.composite
def measured(draw):
    """Return a series whose arms have samples of the same rounds."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3))

    def per_launch(values):
        return tuple(tuple(draw(values) for _ in range(rounds)) for rounds in shape)

    durations = st.integers(1, 2**63 - 1)
    return Series(
        workload=draw(built(Workload)),
        loops=draw(counts),
        own_ns=per_launch(durations),
        reference_ns=per_launch(durations),
        control_ns=draw(st.sampled_from([(), per_launch(durations)])),
        rows=per_launch(counts),
        lengths=per_launch(counts),
        arms=draw(counts),
        tail_ns=draw(values(tuple[int, ...])),
    )


BY_TYPE[Series] = measured()
GATES = {"max_drop": st.floats(0, 0.99), "min_speedup": st.floats(0.1, 9), "batch": st.integers(1, 1024)}
BY_TYPE[Gate] = built(Gate, min_score=st.floats(0, 1), max_score=st.none(), **GATES) | built(
    Gate, min_score=st.none(), max_score=st.floats(0, 1e6), **GATES
)
BY_TYPE[Environment] = built(Environment, machine=names)
whole = built(Result, task=names, model=names, backend=names)

TOY = result(series=(series(rounds=2),))


def loaded(content):
    """Load a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.json"
        path.write_bytes(content)
        return store.load(path)


def encoded(**changed):
    """Return a result's file with changed top-level fields."""
    return json.dumps(json.loads(msgspec.json.encode(TOY)) | changed).encode()


def is_read_or_refused(content):
    try:
        record = loaded(content)
    except HarnessError as error:
        assert "run the case again or delete the file" in str(error)  # noqa: PT017  # both outcomes are allowed
    else:
        assert isinstance(record, Result)


# Round trip


@LAW
@given(whole)
def test_saved_result_is_loaded_unchanged(result):
    with tempfile.TemporaryDirectory() as folder:
        path = store.save(Path(folder), result)
        assert result == store.load(path)
        assert [result] == list(store.load_all(Path(folder)))


@LAW
@given(whole)
def test_same_result_gives_the_same_bytes(result):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        again = store.load(store.save(Path(one), result))
        assert store.result_path(Path(one), result).read_bytes() == store.save(Path(other), again).read_bytes()


def test_path_holds_machine_and_name(tmp_path):
    assert TOY.name == "toy-task/toy-model.pytorch.cpu"
    assert tmp_path / "toy-machine/toy-task/toy-model.pytorch.cpu.json" == store.save(tmp_path, TOY)


def test_second_run_replaces_the_first(tmp_path):
    store.save(tmp_path, TOY)
    path = store.save(tmp_path, replace(TOY, measurement="ba9876543210"))
    assert store.load(path).measurement == "ba9876543210"
    assert [path.name] == [file.name for file in path.parent.iterdir()]


def test_file_is_readable_json(tmp_path):
    text = store.save(tmp_path, TOY).read_text()
    assert json.loads(text)["schema"] == SCHEMA
    assert text.endswith("}\n")
    assert '\n "task": "toy-task",\n' in text


def test_results_are_sorted_by_name(tmp_path):
    for backend in ("pytorch", "onnxruntime", "int8"):
        store.save(tmp_path, replace(TOY, backend=backend))
    (tmp_path / "README.md").write_text("columns")
    assert [result.backend for result in store.load_all(tmp_path)] == ["int8", "onnxruntime", "pytorch"]


def test_answers_are_stored_beside_their_result(tmp_path):
    table = pd.DataFrame({"row": [0, 1], "label": ["a", "b"], "logits": [[0.5, 1.0], [2.0, 0.25]]})
    store.keep(tmp_path, TOY, table, "")
    found = pd.read_parquet(tmp_path / "toy-machine/toy-task/toy-model.pytorch.cpu.parquet")
    assert table["label"].tolist() == found["label"].tolist()
    assert table["logits"].tolist() == [list(row) for row in found["logits"]]
    assert list(store.load_all(tmp_path)) == [TOY]


# Refused files


@LAW
@given(st.binary(max_size=200) | plain.map(lambda value: json.dumps(value).encode()))
@example(b"")
@example(b"null")
@example(b"[]")
@example(b'{"schema": 1}')
@example(b'{"schema": 2}')
@example(b'{"schema": true}')
@example(b"\xff\xfe")
def test_arbitrary_bytes_are_read_or_refused(content):
    is_read_or_refused(content)


@pytest.mark.parametrize("before", [b"", b'{"schema":1,"recipe":'], ids=["file", "field"])
def test_endless_nesting_is_refused(before):
    with pytest.raises(HarnessError, match=r"case\.json: unreadable"):
        loaded(before + b"[" * 100_000)


@LAW
@given(whole, st.data())
def test_damaged_result_is_read_or_refused(result, data):
    content = bytearray(msgspec.json.encode(result))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    is_read_or_refused(bytes(content))


@LAW
@given(whole, st.data())
def test_half_a_result_is_refused(result, data):
    content = msgspec.json.encode(result)
    with pytest.raises(HarnessError, match=r"case\.json: unreadable"):
        loaded(content[: data.draw(st.integers(0, len(content) - 1))])


@LAW
@given(plain, st.sampled_from(sorted(json.loads(msgspec.json.encode(TOY)))))
def test_any_value_in_a_field_is_read_or_refused(value, name):
    is_read_or_refused(encoded(**{name: value}))


@pytest.mark.parametrize("schema", [0, 2, 4, None, "3"])
def test_other_schema_is_refused_by_name(schema):
    message = (
        rf"case\.json: unreadable: schema {schema}, this version reads {SCHEMA}; run the case again or delete the file"
    )
    with pytest.raises(HarnessError, match=message):
        loaded(encoded(schema=schema))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"status": "fine"}, r"Invalid enum value 'fine' - at `\$\.status`; run the case again"),
        ({"device": "tpu"}, r"Invalid enum value 'tpu' - at `\$\.device`; run the case again"),
        ({"recipe": None}, r"Expected `object`, got `null` - at `\$\.recipe`"),
        ({"series": [{}]}, r"Object missing required field `workload` - at `\$\.series\[0\]`"),
        ({"gate": {"min_score": 0.5, "max_drop": 0.1, "batch": 0}}, r"Gate: batch=.*run the case again"),
        ({"gate": {"min_score": 2, "max_drop": 0.1}}, r"Gate\(min_score=2.*run the case again"),
        ({"model": "../x"}, r"invalid name '\.\./x'"),
    ],
    ids=["status", "device", "type", "missing", "batch", "gate", "name"],
)
def test_wrong_field_is_named(changed, problem):
    with pytest.raises(HarnessError, match=rf"case\.json: unreadable: {problem}"):
        loaded(encoded(**changed))


# Impossible samples


def of_series(**changed):
    """Return the file's series with changed fields."""
    known = json.loads(msgspec.json.encode(TOY))["series"]
    return [known[0] | changed]


@pytest.mark.parametrize("which", ["own_ns", "reference_ns", "control_ns"])
@pytest.mark.parametrize("ns", [0, -1], ids=["zero", "negative"])
def test_duration_of_zero_or_less_is_refused(which, ns):
    times = [list(launch) for launch in getattr(TOY.series[0], which)]
    times[1][0] = ns
    message = r"case\.json: unreadable: a sample of zero or less nanoseconds - at `\$\.series\[0\]`; run the case again"
    with pytest.raises(HarnessError, match=message):
        loaded(encoded(series=of_series(**{which: times})))


@pytest.mark.parametrize(
    "times", [[[5, 5]], [[5], [5, 5], [5, 5], [5, 5]], [[5, 5, 5]] * 4, []], ids=["launch", "round", "more", "all"]
)
@pytest.mark.parametrize("which", ["own_ns", "reference_ns"])
def test_samples_that_cannot_be_paired_are_refused(which, times):
    message = r"case\.json: unreadable: samples and rows must be of the same rounds - at `\$\.series\[0\]`"
    with pytest.raises(HarnessError, match=message):
        loaded(encoded(series=of_series(**{which: times})))


def test_result_without_control_is_read():
    assert () == loaded(encoded(series=of_series(control_ns=[]))).series[0].control_ns


@pytest.mark.parametrize("ns", [1.5, "5", None], ids=str)
def test_duration_must_be_a_whole_number(ns):
    with pytest.raises(HarnessError, match=r"case\.json: unreadable: Expected `int`"):
        loaded(encoded(series=of_series(own_ns=[[ns, 5], [5, 5], [5, 5], [5, 5]])))


def test_unreadable_result_is_not_stored(tmp_path):
    path = store.save(tmp_path, TOY)
    before = path.read_bytes()
    with pytest.raises(
        HarnessError, match=r"toy-task/toy-model\.pytorch\.cpu: cannot be stored: .*checkpoint\.seconds"
    ):
        store.save(tmp_path, replace(TOY, checkpoint=replace(TOY.checkpoint, seconds=float("nan"))))
    assert before == path.read_bytes()


def test_failed_case_is_stored(tmp_path):
    one = failed(message="out of memory\n  raised at trouble.py:1")
    assert one == store.load(store.save(tmp_path, one))


def test_missing_file_is_a_harness_error(tmp_path):
    with pytest.raises(HarnessError, match=r"none\.json: unreadable: .*No such file"):
        store.load(tmp_path / "none.json")


# Whole or not at all


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text, which is no bytes")
    assert path.read_bytes() == b"old"
    assert [path] == list(tmp_path.iterdir())


def test_files_are_readable_by_everyone(tmp_path):
    path = tmp_path / "new" / "folder" / "table.csv"
    write_atomically(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o644


def test_killed_writer_leaves_a_whole_result(tmp_path):
    """Writes alternate between two results of very different size; after a kill, the file holds one of them."""
    small, large = TOY, replace(TOY, notes=("long",) * 50_000)
    path = store.save(tmp_path, small)
    rng = random.Random(0)
    for _ in range(10):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                while True:
                    store.save(tmp_path, large)
                    os.write(theirs, b"!")
                    store.save(tmp_path, small)
            finally:
                os._exit(1)
        os.close(theirs)
        assert os.read(ours, 1) == b"!"  # it has written at least once
        time.sleep(rng.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ours)
        assert store.load(path) in (small, large)
        assert len(list(store.load_all(tmp_path))) == 1
