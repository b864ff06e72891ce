# the expectation stands on the left
"""Options of a backend: what there is, what a variant is, and that nothing else is chosen by a typo."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.backends import ONNXRUNTIME_INT8, PYTORCH
from harness.backends.variants import lacking, python, spread, thread_counts, tuned, variants
from harness.contracts.backend import Backend, Session, Target, options_text
from harness.errors import HarnessError
from harness.spec import cases
from harness.util.fingerprints import fingerprint
from harness.util.machine import usable_cores


def load(artifact: Path, target: Target) -> Session:
    raise AssertionError("nothing is loaded here")


TOY = Backend(name="toy", load=load, choices={"arena": (True, False), "level": ("all", "basic", "none")})
TARGET = Target("cpu", 2)


def test_a_variant_runs_the_artifact_of_its_backend_and_must_answer_as_that_does() -> None:
    found = tuned(ONNXRUNTIME_INT8, threads=1, arena=False)
    assert ("onnxruntime-int8-tuned", ONNXRUNTIME_INT8, None, False) == (
        found.name, found.source, found.build, found.lossy
    )  # fmt: skip
    assert {"threads": 1, "arena": False} == found.options
    assert "mine" == tuned(TOY, name="mine", arena=False).name


def test_a_variant_of_a_variant_keeps_what_was_chosen_before() -> None:
    assert {"arena": False, "level": "basic"} == tuned(tuned(TOY, arena=False), level="basic").options


def test_variants_are_values_that_their_options_tell_apart() -> None:
    one, same, other = tuned(TOY, arena=False), tuned(TOY, arena=False), tuned(TOY, arena=True)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint(one) != fingerprint(other)


def test_the_order_in_which_options_are_given_changes_nothing() -> None:
    assert fingerprint(tuned(TOY, arena=False, threads=1)) == fingerprint(tuned(TOY, threads=1, arena=False))


def test_what_might_be_chosen_is_no_part_of_what_a_backend_is() -> None:
    assert fingerprint(TOY) == fingerprint(replace(TOY, choices={}))


def test_options_of_a_backend_cannot_be_changed_afterwards() -> None:
    with pytest.raises(TypeError):
        tuned(TOY, arena=False).options["arena"] = True  # type: ignore[index]


BAD = {
    "an option that is not there": (
        {"spining": True},
        "toy-tuned: unknown option 'spining'; expected one of threads, ",
    ),
    "a value that is not there": ({"level": "most"}, "level='most'; expected one of 'all', 'basic', 'none'"),
    "a number for a switch": ({"arena": 0}, "arena=0; expected one of True, False"),
    "a number for spinning": ({"spinning": 1}, "spinning=1; expected one of False, True"),
    "a switch for a number": ({"threads": True}, "threads=True: must be a whole number of at least 1"),
    "no thread": ({"threads": 0}, "threads=0: must be a whole number of at least 1"),
    "nothing": ({}, "tuned(toy): names no option; expected one or more of threads, spinning, arena, level"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_named_with_what_there_is(mistake: str) -> None:
    options, said = BAD[mistake]
    with pytest.raises(HarnessError) as caught:
        tuned(TOY, **options)
    assert said in str(caught.value)


def test_a_backend_declares_no_option_that_all_have() -> None:
    with pytest.raises(HarnessError, match=r"choices=\['threads'\]: every backend has threads and spinning"):
        replace(TOY, choices={"threads": (1, 2)})


def test_no_variant_takes_the_reference_s_name() -> None:
    with pytest.raises(HarnessError, match="the reference and its control own that name"):
        cases(None, [], [tuned(PYTORCH, name="pytorch", threads=1)])  # type: ignore[arg-type]


def test_own_threads_and_spinning_go_before_what_all_workers_are_given() -> None:
    aimed = tuned(TOY, threads=1, level="none").aimed(TARGET)
    assert ("cpu", 1, False) == aimed[:3]
    assert {"threads": 1, "level": "none"} == aimed.options
    assert TARGET == TOY.aimed(TARGET)


def test_a_variant_with_more_threads_than_there_are_cores_says_so_and_others_do_not() -> None:
    found = lacking(tuned(TOY, threads=usable_cores() + 1), "cpu")
    assert f"it is tuned to {usable_cores() + 1} threads, and this process may use {usable_cores()} cores" == found
    assert lacking(tuned(TOY, threads=1), "cpu") is None
    assert "no such thing" == lacking(replace(TOY, unavailable=lambda device: "no such thing"), "cpu")


def test_variants_leave_out_the_default_only() -> None:
    expected = {(threads, spinning) for threads in (1, 2, 4) for spinning in (False, True)} - {(2, False)}
    options = variants(TARGET, (1, 2, 4))
    assert expected == {(one["threads"], one["spinning"]) for one in options.values()}
    assert "threads=1, spinning=on" in options


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 3, 4, 6)), (64, (1, 2, 4, 8, 16, 32, 64))]
)
def test_thread_counts_reach_the_cores(cores: int, expected: tuple[int, ...]) -> None:
    assert expected == thread_counts(cores)


@pytest.mark.parametrize(("cores", "expected"), [(8, (1, 2, 4, 8)), (6, (1, 2, 4, 6)), (64, (1, 4, 16, 64))])
def test_many_thread_counts_are_thinned(cores: int, expected: tuple[int, ...]) -> None:
    assert expected == spread(thread_counts(cores))


def test_the_line_for_the_suite_makes_the_variant() -> None:
    options = {"threads": 1, "arena": False, "level": "basic"}
    assert tuned(TOY, **options) == eval(python("TOY", options))  # noqa: S307  # our own words
    assert "threads=1, arena=off, level=basic" == options_text(options)
