"""Options of a backend, and the variants that have some of them chosen."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.backends import ONNXRUNTIME_INT8, PYTORCH
from harness.backends.variants import spread, thread_counts, tuned, tuned_code, unavailable_reason, variants
from harness.contracts.backend import Backend, Session, Target, format_options
from harness.errors import HarnessError
from harness.spec import cases
from harness.util.identity import fingerprint
from harness.util.machine import usable_cores


def load(artifact: Path, target: Target) -> Session:
    raise AssertionError("nothing is loaded here")


TOY = Backend(name="toy", load=load, choices={"arena": (True, False), "level": ("all", "basic", "none")})
TARGET = Target("cpu", 2)


def test_variant_runs_its_backends_artifact_and_is_lossless() -> None:
    variant = tuned(ONNXRUNTIME_INT8, threads=1, arena=False)
    expected = ("onnxruntime-int8-tuned", ONNXRUNTIME_INT8, None, False)
    assert expected == (variant.name, variant.source, variant.build, variant.lossy)
    assert {"threads": 1, "arena": False} == variant.options
    assert "mine" == tuned(TOY, name="mine", arena=False).name


def test_variant_of_a_variant_keeps_its_options() -> None:
    assert {"arena": False, "level": "basic"} == tuned(tuned(TOY, arena=False), level="basic").options


def test_options_distinguish_variants_whatever_their_order() -> None:
    one, same, other = (tuned(TOY, arena=arena, threads=1) for arena in (False, False, True))
    assert (one, hash(one), fingerprint(one)) == (same, hash(same), fingerprint(same))
    assert one != other
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(tuned(TOY, threads=1, arena=False))


def test_choices_keep_the_fingerprint() -> None:
    assert fingerprint(TOY) == fingerprint(replace(TOY, choices={}))


def test_options_are_immutable() -> None:
    with pytest.raises(TypeError):
        tuned(TOY, arena=False).options["arena"] = True  # type: ignore[index]


BAD = {
    "unknown option": ({"spining": True}, "toy-tuned: unknown option 'spining'; expected one of threads, "),
    "unknown value": ({"level": "most"}, "level='most'; expected one of 'all', 'basic', 'none'"),
    "number for a switch": ({"arena": 0}, "arena=0; expected one of True, False"),
    "number for spinning": ({"spinning": 1}, "spinning=1; expected one of False, True"),
    "switch for a number": ({"threads": True}, "threads=True"),
    "no thread": ({"threads": 0}, "threads=0"),
    "nothing": ({}, "tuned(toy): names no option; expected one or more of threads, spinning, arena, level"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_wrong_option_is_named_with_the_choices(mistake: str) -> None:
    options, message = BAD[mistake]
    with pytest.raises(HarnessError) as caught:
        tuned(TOY, **options)
    assert message in str(caught.value)


def test_common_options_are_not_declared() -> None:
    with pytest.raises(HarnessError, match=r"choices=\['threads'\]"):
        replace(TOY, choices={"threads": (1, 2)})


def test_no_variant_takes_the_references_name() -> None:
    with pytest.raises(HarnessError, match="'pytorch'"):
        cases(None, [], [tuned(PYTORCH, name="pytorch", threads=1)])  # type: ignore[arg-type]


def test_own_threads_and_spinning_override_the_runs() -> None:
    target = tuned(TOY, threads=1, level="none").worker_target(TARGET)
    assert ("cpu", 1, False) == target[:3]
    assert {"threads": 1, "level": "none"} == target.options
    assert TARGET == TOY.worker_target(TARGET)


def test_too_many_threads_are_unavailable() -> None:
    reason = unavailable_reason(tuned(TOY, threads=usable_cores() + 1), "cpu")
    assert f"it is tuned to {usable_cores() + 1} threads; this process may use {usable_cores()} cores" == reason
    assert unavailable_reason(tuned(TOY, threads=1), "cpu") is None
    assert "no such thing" == unavailable_reason(replace(TOY, unavailable=lambda device: "no such thing"), "cpu")


def test_variants_leave_out_only_the_default() -> None:
    expected = {(threads, spinning) for threads in (1, 2, 4) for spinning in (False, True)} - {(2, False)}
    options = variants(TARGET, (1, 2, 4))
    assert expected == {(choice["threads"], choice["spinning"]) for choice in options.values()}
    assert "threads=1, spinning=on" in options


@pytest.mark.parametrize(
    ("cores", "counts", "spread_counts"),
    [
        (1, (1,), (1,)),
        (2, (1, 2), (1, 2)),
        (6, (1, 2, 3, 4, 6), (1, 2, 4, 6)),
        (8, (1, 2, 4, 8), (1, 2, 4, 8)),
        (64, (1, 2, 4, 8, 16, 32, 64), (1, 4, 16, 64)),
    ],
)
def test_thread_counts_reach_all_cores_in_at_most_four_steps(
    cores: int, counts: tuple[int, ...], spread_counts: tuple[int, ...]
) -> None:
    assert counts == thread_counts(cores)
    assert spread_counts == spread(counts)


def test_printed_code_makes_the_variant() -> None:
    options = {"threads": 1, "arena": False, "level": "basic"}
    assert tuned(TOY, **options) == eval(tuned_code("TOY", options))  # noqa: S307  # our own words
    assert "threads=1, arena=off, level=basic" == format_options(options)
