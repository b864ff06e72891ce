"""Laws of a session: options that make no sense are refused at once, and what is open is told."""

from argparse import Namespace

import pytest
from factory import answers, failed, result, series, unsupported

from harness.errors import HarnessError
from harness.pytest_plugin import closing
from harness.pytest_plugin.session import ShipSession

DEFAULTS = {
    "ship_threads": None,
    "ship_budget": 60.0,
    "ship_launches": 4,
    "ship_timeout": 300.0,
    "ship_max_latency_ms": None,
    "ship_max_memory_mb": None,
    "ship_max_size_mb": None,
    "ship_tail": 0,
    "ship_batch_sizes": None,
    "ship_track": None,
    "ship_machine": "local",
    "ship_spin": False,
    "ship_retrain": False,
    "ship_require": None,
    "ship_seeds": None,
    "ship_resume": False,
    "ship_baseline": None,
    "ship_results": None,
    "ship_artifacts": None,
}


def session(folder, line=(), **changed):
    return ShipSession.from_options(Namespace(**(DEFAULTS | changed)), folder, line)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_latency_ms", 0.0, "--ship-max-latency-ms 0: must be positive"),
        ("max_memory_mb", -5.0, "--ship-max-memory-mb -5: must be positive"),
        ("max_size_mb", 0.0, "--ship-max-size-mb 0: must be positive"),
        ("budget", 0.0, "--ship-budget 0: must be positive"),
        ("launches", 0, "--ship-launches 0: must be positive"),
        ("launches", 31, "--ship-launches 31: the first look takes 30 rounds, one each"),
        ("timeout", -1.0, "--ship-timeout -1: must be positive"),
        ("threads", 0, "--ship-threads 0: must be positive"),
        ("threads", 4096, "--ship-threads 4096: this process may use "),
        ("seeds", 0, "--ship-seeds 0: must be positive"),
        ("tail", -1, "--ship-tail -1: a number of calls"),
        ("batch_sizes", "16", "--ship-batch-sizes 16: give whole numbers"),
        ("batch_sizes", "1,16,4", "--ship-batch-sizes 1,16,4: give whole numbers"),
        ("batch_sizes", "1,1", "--ship-batch-sizes 1,1: give whole numbers"),
        ("batch_sizes", "1,-4", "--ship-batch-sizes 1,-4: give whole numbers"),
        ("batch_sizes", "1, 4", "--ship-batch-sizes 1, 4: give whole numbers"),
        ("batch_sizes", "1,2e3", "--ship-batch-sizes 1,2e3: give whole numbers"),
        ("batch_sizes", "", "--ship-batch-sizes : give whole numbers"),
        ("machine", "../x", "--ship-machine '../x': use letters"),
        ("machine", "", "--ship-machine '': use letters"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(tmp_path, name, value, said):
    with pytest.raises(HarnessError) as raised:
        session(tmp_path, **{f"ship_{name}": value}).begin([])
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_latency_ms", 0.5),
        ("max_size_mb", 1e9),
        ("launches", 30),
        ("launches", 1),
        ("tail", 459),
        ("batch_sizes", "1"),
    ],
)
def test_an_option_that_makes_sense_is_taken(tmp_path, name, value):
    session(tmp_path, **{f"ship_{name}": value}).begin([])


def test_batch_sizes_are_workloads_and_unless_given_latency_and_throughput(tmp_path):
    found = [session(tmp_path, ship_batch_sizes=text).pipeline_options().batches for text in (None, "1", "1,8,64")]
    assert [(1, 16), (1,), (1, 8, 64)] == found


def test_the_options_on_the_command_line_are_those_that_repeat_it(tmp_path):
    line = [
        "suites", "-k", "int8", "--ship-launches", "2", "--ship-spin", "-q", "--ship-tail=5", "--ship-retrain", "-x",
        "--ship-require", "decided",
    ]  # fmt: skip
    expected = ("--ship-launches", "2", "--ship-spin", "--ship-tail=5", "--ship-retrain", "--ship-require", "decided")
    assert expected == session(tmp_path, line).given


def told(folder, *several):
    found = session(folder)
    found.results = {one.name: one for one in several}
    return closing.open_cases(found)


def test_what_is_decided_leaves_nothing_open(tmp_path):
    decided = [result(), result("fast", 2.0), result("slow", 0.5), result("wrong", answers=answers(lost=60))]
    assert [] == told(tmp_path, *decided, failed("broken"), unsupported())


def test_what_is_undecided_or_invalid_is_told_with_its_reasons(tmp_path):
    open_cases = [result("one", series=(series(2.0, launches=1),)), result("two", series=(series(2.0, control=1.2),))]
    first, second = told(tmp_path, result(), *open_cases)
    assert first.startswith("toy-task/toy-model.one.cpu is undecided: its speed-up is 2.00x [too few launches or")
    assert second.startswith("toy-task/toy-model.two.cpu is invalid: speed says nothing here: the reference differs")


def test_a_session_in_which_nothing_was_measured_decides_nothing(tmp_path):
    assert ["nothing was measured: every case was skipped"] == told(tmp_path)
