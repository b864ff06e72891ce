"""A comparison whose outcome no round could change is not timed, and says so once."""

from types import SimpleNamespace

import pytest
from factory import GATE

from harness.pipeline.compare import _ends_untimed
from harness.results.schema import NO_CONSTRAINTS, Constraints
from harness.spec import Gate
from harness.util.console import Progress


def state(score=0.95, failed=(), backends=("pytorch", "onnxruntime"), constraints=NO_CONSTRAINTS, gate=GATE):
    cases = [SimpleNamespace(gate=gate, backend=SimpleNamespace(name=name)) for name in backends]
    return SimpleNamespace(
        prepared={"pytorch": SimpleNamespace(scored=SimpleNamespace(score=score))},
        comparison=SimpleNamespace(cases=cases),
        failures=dict.fromkeys(failed),
        options=SimpleNamespace(constraints=constraints),
        notes=[],
    )


@pytest.mark.parametrize(
    ("one", "notes"),
    [
        (state(), []),
        (state(backends=("pytorch",)), []),
        (state(score=None), []),
        (state(score=0.75), ["nothing was timed: the reference scores 0.7500, below its min_score=0.9"]),
        (state(score=0.75, gate=Gate(max_score=0.8, max_drop=0.1)), []),
        (
            state(score=0.85, gate=Gate(max_score=0.8, max_drop=0.1)),
            ["nothing was timed: the reference scores 0.8500, above its max_score=0.8"],
        ),
        (state(failed=("onnxruntime",)), ["nothing was timed: no other backend gave answers to compare it with"]),
        (state(failed=("onnxruntime",), constraints=Constraints(max_latency_ms=3)), []),
        (state(failed=("onnxruntime",), backends=("pytorch", "onnxruntime", "b")), []),
    ],
)
def test_only_rounds_that_may_matter_are_run(one, notes):
    assert bool(notes) == _ends_untimed(one, Progress(None))
    assert notes == one.notes
