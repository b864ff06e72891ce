"""Laws of result files: what is saved is loaded, what is no result is refused, and nobody ever sees half of one."""

import json
import os
import random
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from factory import failed, result, series
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.measure.system import Disturbance
from harness.results import store
from harness.results.schema import (
    SCHEMA,
    Answers,
    Bounds,
    Built,
    Constraints,
    Data,
    Failure,
    Flip,
    Process,
    Result,
    Seed,
    Series,
    Workload,
)
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


def tuples(values, most=3):
    return st.lists(values, max_size=most).map(tuple)


environments = st.builds(
    Environment,
    machine=names,
    cpu=texts,
    flags=tuples(texts),
    cores=counts,
    memory_gib=reals,
    accelerator=st.none() | texts,
    system=texts,
    python=texts,
    packages=st.dictionaries(texts, texts, max_size=2),
    threads=counts,
    wait_policy=texts,
    commit=st.none() | texts,
    dirty=st.booleans(),
    load_before=reals,
)
builds = st.builds(Built, key=texts, size_bytes=counts, seconds=reals, info=infos)


@st.composite
def measured(draw):
    """A series whose arms have samples of the same rounds."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3))

    def per_start(values):
        return tuple(tuple(draw(values) for _ in range(rounds)) for rounds in shape)

    durations = st.integers(1, 2**63 - 1)
    return Series(
        workload=Workload(batch=draw(counts), threads=draw(counts), order_seed=draw(counts)),
        loops=draw(counts),
        own_ns=per_start(durations),
        reference_ns=per_start(durations),
        control_ns=draw(st.sampled_from([(), per_start(durations)])),
        rows=per_start(counts),
        lengths=per_start(counts),
        arms=draw(counts),
        tail_ns=draw(tuples(durations)),
    )


maybe = st.none() | reals
bounds = st.none() | st.builds(Bounds, low=reals, high=reals)
processes = st.none() | st.builds(
    Process,
    **dict.fromkeys(("import_ns", "load_ns", "compile_ns", "first_ns", "peak_rss_bytes"), tuples(counts)),
    settings=st.dictionaries(texts, texts, max_size=2),
)
disturbances = st.none() | st.builds(
    Disturbance,
    **dict.fromkeys(
        (
            "load_before", "load_after", "foreign_share", "steal_share", "pressure_share", "mhz_before", "mhz_after",
            "parent_cpu_share",
        ),
        maybe,
    ),
    throttled=st.none() | counts,
    switches=st.dictionaries(texts, counts, max_size=2),
)  # fmt: skip
whole = st.builds(
    Result,
    task=names,
    model=names,
    backend=names,
    device=st.sampled_from(["cpu", "cuda"]),
    status=st.sampled_from(["ok", "failed", "unsupported"]),
    error=st.none() | st.builds(Failure, stage=texts, message=texts, status=st.sampled_from(["failed", "unsupported"])),
    measurement=texts,
    created=texts,
    environment=environments,
    recipe=infos,
    data=st.none()
    | st.builds(
        Data,
        **dict.fromkeys(("source", "source_sha256", "kind", "metric"), texts),
        labels=tuples(texts),
        sizes=st.dictionaries(texts, counts, max_size=2),
        sha256=st.dictionaries(texts, texts, max_size=2),
        duplicates=counts,
    ),
    checkpoint=st.none() | builds,
    artifact=st.none() | builds,
    answers=st.none()
    | st.builds(
        Answers,
        **dict.fromkeys(("rows", "lost", "gained", "source_lost", "source_gained"), counts),
        **dict.fromkeys(("agreement", "source_agreement", "largest_difference"), reals),
        **dict.fromkeys(("score", "reference_score", "source_score"), maybe),
        **dict.fromkeys(("drop_bounds", "source_drop_bounds"), bounds),
        **dict.fromkeys(("compared_with", "correct"), texts),
        flips=tuples(
            st.builds(Flip, row=counts, **dict.fromkeys(("label", "reference", "own", "text"), texts)), most=1
        ),
    ),
    process=processes,
    reference_process=processes,
    series=tuples(measured(), most=2),
    gate=st.none() | st.builds(
        Gate, min_score=st.floats(0, 1), max_drop=st.floats(0, 0.99), min_speedup=st.none() | st.floats(0.1, 9.0)
    ),
    constraints=st.builds(Constraints, **dict.fromkeys(("max_latency_ms", "max_memory_mb", "max_size_mb"), maybe)),
    disturbance=disturbances,
    seeds=tuples(st.builds(Seed, seed=counts, score=maybe, majority_score=reals), most=1),
    notes=tuples(texts),
)

TOY = result(series=(series(rounds=2),))


def loaded(content):
    """What `load` makes of a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.json"
        path.write_bytes(content)
        return store.load(path)


def encoded(**changed):
    """A result's file, changed in its top level."""
    return json.dumps(json.loads(msgspec.json.encode(TOY)) | changed).encode()


def is_read_or_refused(content):
    try:
        found = loaded(content)
    except HarnessError as error:
        assert "run the case again or delete the file" in str(error)  # noqa: PT017  # the law allows both
    else:
        assert isinstance(found, Result)


# Round trip


@LAW
@given(whole)
def test_a_saved_result_is_loaded_as_it_was(result):
    with tempfile.TemporaryDirectory() as folder:
        path = store.save(Path(folder), result)
        assert result == store.load(path)
        assert [result] == list(store.load_all(Path(folder)))


@LAW
@given(whole)
def test_the_same_result_is_always_the_same_bytes(result):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        again = store.load(store.save(Path(one), result))
        assert store.result_path(Path(one), result).read_bytes() == store.save(Path(other), again).read_bytes()


def test_a_result_lies_under_its_machine_and_its_name(tmp_path):
    assert TOY.name == "toy-task/toy-model.pytorch.cpu"
    assert tmp_path / "toy-machine/toy-task/toy-model.pytorch.cpu.json" == store.save(tmp_path, TOY)


def test_a_second_run_replaces_the_first(tmp_path):
    store.save(tmp_path, TOY)
    path = store.save(tmp_path, replace(TOY, measurement="ba9876543210"))
    assert store.load(path).measurement == "ba9876543210"
    assert [path.name] == [file.name for file in path.parent.iterdir()]


def test_a_file_is_json_that_people_can_read(tmp_path):
    text = store.save(tmp_path, TOY).read_text()
    assert json.loads(text)["schema"] == SCHEMA
    assert text.endswith("}\n")
    assert '\n "task": "toy-task",\n' in text


def test_all_results_come_in_the_order_of_their_names(tmp_path):
    for backend in ("pytorch", "onnxruntime", "int8"):
        store.save(tmp_path, replace(TOY, backend=backend))
    (tmp_path / "README.md").write_text("columns")
    assert [result.backend for result in store.load_all(tmp_path)] == ["int8", "onnxruntime", "pytorch"]


def test_answers_lie_beside_their_result(tmp_path):
    table = pd.DataFrame({"row": [0, 1], "label": ["a", "b"], "logits": [[0.5, 1.0], [2.0, 0.25]]})
    store.keep(tmp_path, TOY, table, "")
    found = pd.read_parquet(tmp_path / "toy-machine/toy-task/toy-model.pytorch.cpu.parquet")
    assert table["label"].tolist() == found["label"].tolist()
    assert table["logits"].tolist() == [list(row) for row in found["logits"]]
    assert list(store.load_all(tmp_path)) == [TOY]


# What is no result


@LAW
@given(st.binary(max_size=200) | plain.map(lambda value: json.dumps(value).encode()))
@example(b"")
@example(b"null")
@example(b"[]")
@example(b'{"schema": 1}')
@example(b'{"schema": 2}')
@example(b'{"schema": true}')
@example(b"\xff\xfe")
def test_arbitrary_bytes_are_a_result_or_a_harness_error(content):
    is_read_or_refused(content)


@pytest.mark.parametrize("before", [b"", b'{"schema":1,"recipe":'], ids=["file", "field"])
def test_bottomless_nesting_is_refused(before):
    with pytest.raises(HarnessError, match=r"case\.json: not a result"):
        loaded(before + b"[" * 100_000)


@LAW
@given(whole, st.data())
def test_a_damaged_result_is_a_result_or_a_harness_error(result, data):
    content = bytearray(msgspec.json.encode(result))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    is_read_or_refused(bytes(content))


@LAW
@given(whole, st.data())
def test_half_a_result_is_refused(result, data):
    content = msgspec.json.encode(result)
    with pytest.raises(HarnessError, match=r"case\.json: not a result"):
        loaded(content[: data.draw(st.integers(0, len(content) - 1))])


@LAW
@given(plain, st.sampled_from(sorted(json.loads(msgspec.json.encode(TOY)))))
def test_a_result_with_another_value_in_a_field_is_a_result_or_a_harness_error(value, name):
    is_read_or_refused(encoded(**{name: value}))


@pytest.mark.parametrize("schema", [0, 2, 4, None, "3"])
def test_another_schema_is_refused_and_named(schema):
    said = rf"case\.json: schema {schema}, this version reads 3; run the case again or delete the file"
    with pytest.raises(HarnessError, match=said):
        loaded(encoded(schema=schema))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"status": "fine"},
            r"case\.json: not a result: Invalid enum value 'fine' - at `\$\.status`; run the case again",
        ),
        (
            {"device": "tpu"},
            r"case\.json: not a result: Invalid enum value 'tpu' - at `\$\.device`; run the case again",
        ),
        ({"recipe": None}, r"case\.json: not a result: Expected `object`, got `null` - at `\$\.recipe`"),
        (
            {"series": [{}]},
            r"case\.json: not a result: Object missing required field `workload` - at `\$\.series\[0\]`",
        ),
    ],
    ids=["status", "device", "type", "missing"],
)
def test_a_field_that_is_wrong_is_named(changed, said):
    with pytest.raises(HarnessError, match=said):
        loaded(encoded(**changed))


# Samples that no clock gives


def of_series(**changed):
    """The file's series, changed."""
    known = json.loads(msgspec.json.encode(TOY))["series"]
    return [known[0] | changed]


@pytest.mark.parametrize("which", ["own_ns", "reference_ns", "control_ns"])
@pytest.mark.parametrize("ns", [0, -1], ids=["zero", "negative"])
def test_a_duration_that_no_clock_gives_is_refused_with_its_file(which, ns):
    times = [list(start) for start in getattr(TOY.series[0], which)]
    times[1][0] = ns
    said = r"case\.json: not a result: a sample of zero or less nanoseconds - at `\$\.series\[0\]`; run the case again"
    with pytest.raises(HarnessError, match=said):
        loaded(encoded(series=of_series(**{which: times})))


@pytest.mark.parametrize(
    "times", [[[5, 5]], [[5], [5, 5], [5, 5], [5, 5]], [[5, 5, 5]] * 4, []], ids=["start", "round", "more", "all"]
)
@pytest.mark.parametrize("which", ["own_ns", "reference_ns"])
def test_samples_that_cannot_be_paired_are_refused_with_their_file(which, times):
    said = r"case\.json: not a result: samples and rows must be of the same rounds - at `\$\.series\[0\]`"
    with pytest.raises(HarnessError, match=said):
        loaded(encoded(series=of_series(**{which: times})))


def test_a_lost_control_is_no_reason_to_refuse():
    assert () == loaded(encoded(series=of_series(control_ns=[]))).series[0].control_ns


@pytest.mark.parametrize("ns", [1.5, "5", None], ids=str)
def test_a_duration_that_is_no_whole_number_is_refused(ns):
    with pytest.raises(HarnessError, match=r"case\.json: not a result: Expected `int`"):
        loaded(encoded(series=of_series(own_ns=[[ns, 5], [5, 5], [5, 5], [5, 5]])))


def test_what_could_not_be_read_again_is_not_stored(tmp_path):
    path = store.save(tmp_path, TOY)
    before = path.read_bytes()
    with pytest.raises(
        HarnessError, match=r"toy-task/toy-model\.pytorch\.cpu: cannot be stored: .*checkpoint\.seconds"
    ):
        store.save(tmp_path, replace(TOY, checkpoint=replace(TOY.checkpoint, seconds=float("nan"))))
    assert before == path.read_bytes()


def test_a_failed_case_is_stored_with_what_was_known(tmp_path):
    one = failed(message="out of memory\n  raised at trouble.py:1")
    assert one == store.load(store.save(tmp_path, one))


def test_a_file_that_is_not_there_is_a_harness_error(tmp_path):
    with pytest.raises(HarnessError, match=r"none\.json: not a result: .*No such file"):
        store.load(tmp_path / "none.json")


# Whole or not at all


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text, which is no bytes")
    assert path.read_bytes() == b"old"
    assert [path] == list(tmp_path.iterdir())


def test_a_file_can_be_read_by_everyone(tmp_path):
    path = tmp_path / "new" / "folder" / "table.csv"
    write_atomically(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_writer_killed_at_any_instant_leaves_a_whole_result(tmp_path):
    """Writes alternate between two results of very different size; whatever instant hits, one of them is there."""
    small, large = TOY, replace(TOY, notes=("long",) * 50_000)
    path = store.save(tmp_path, small)
    dice = random.Random(0)
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
        time.sleep(dice.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ours)
        assert store.load(path) in (small, large)
        assert len(list(store.load_all(tmp_path))) == 1
