# the expectation stands on the left
"""`shipbench tune`: the search on simulated machines, whose fastest setting is known, and bad input."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from conftest import Toy
from harness.backends.variants import variants
from harness.commands.tune import REFUTED, Subject, search
from harness.contracts.backend import Backend, Target, format_options
from harness.contracts.kind import Arrays
from harness.errors import HarnessError, WorkerError
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.selftest.simulation import Profile, SimulatedWorker, Simulation
from harness.selftest.toys import truthful
from harness.util.console import Progress

pytest_plugins = "pytester"

TOY = Backend(name="toy", load=truthful)
TARGET = Target("cpu", 2)
VARIANTS = variants(TARGET, (1, 2))
SPINNING = "threads=2, spinning=on"


class Choosy(Simulation):
    """A machine on which settings take their share of the default's time."""

    shares: dict[str, float]

    def start_worker(self, backend: Backend, artifact: Path, *rest: object) -> SimulatedWorker:
        """Start a worker that takes its setting's share of the default's time."""
        target = rest[0]
        assert isinstance(target, Target)
        setting = {"threads": target.threads, "spinning": target.spinning, **backend.options}
        return super().start_worker(backend, Path(str(self.shares.get(format_options(setting), 1.0))), *rest)


def subject(seed: int, shares: dict[str, float], jitter: float = 0.02) -> Subject:
    machine = Choosy(Profile(name="quiet", block_ms=8, jitter=jitter), 0.005, f"tune {seed}")
    machine.shares = shares

    def arrays(rows: list[int]) -> Arrays:
        return {"x": np.zeros((1, 1), dtype=np.float32)}

    return Subject(
        default=Arm("toy", TOY, Path("1")),
        workload=WorkloadInputs(1, 0, lambda number: [number], arrays),
        settings=Settings(TARGET, machine=machine.machine),
        check=lambda name, rows, outputs: None,
        accept=lambda backend: None,
        progress=Progress(),
    )


def refuse(setting: str) -> Callable[[Backend], None]:
    def accept(backend: Backend) -> None:
        if format_options({name: backend.options[name] for name in ("threads", "spinning")}) == setting:
            raise HarnessError("the export does not answer as toy does")

    return accept


def test_faster_setting_is_proven_in_fresh_launches() -> None:
    lines = list(search(subject(0, {SPINNING: 0.8, "threads=1, spinning=off": 0.9}), VARIANTS))
    assert list(VARIANTS) == [line[2:26].strip() for line in lines[: len(VARIANTS)]]
    worth, suggested = lines[-2:]
    assert worth.startswith(f"toy with {SPINNING}: 1.2")
    assert worth.endswith(" fresh rounds in 4 launches")
    assert "In the suite: cases(…, backends=[…, tuned(TOY, threads=2, spinning=True)])" == suggested


def test_slower_settings_are_not_measured_again() -> None:
    lines = list(search(subject(0, dict.fromkeys(VARIANTS, 1.5)), VARIANTS))
    assert [f"{REFUTED} in these rounds"] == lines[len(VARIANTS) :]


def test_equal_settings_are_not_claimed_faster() -> None:
    verdicts = [list(search(subject(seed, {}, jitter=0.1), VARIANTS))[-1] for seed in range(20)]
    assert all(verdict.startswith(REFUTED) for verdict in verdicts)


def test_winner_that_fails_fresh_rounds_is_not_suggested() -> None:
    calls: list[str] = []

    def check(name: str, rows: list[int], outputs: Arrays) -> None:
        if name == SPINNING and "accepted" in calls:
            raise WorkerError("died")

    bench = replace(subject(0, {SPINNING: 0.5}), check=check, accept=lambda backend: calls.append("accepted"))
    assert f"{REFUTED}: {SPINNING} failed in the fresh rounds: died" == list(search(bench, VARIANTS))[-1]


def test_setting_with_other_answers_is_refused_and_the_next_taken() -> None:
    bench = subject(0, {SPINNING: 0.5, "threads=1, spinning=on": 0.7})
    lines = list(search(replace(bench, accept=refuse(SPINNING)), VARIANTS))
    assert f"  {SPINNING}    failed: the export does not answer as toy does" in lines
    assert lines[-2].startswith("toy with threads=1, spinning=on: 1.4")


def test_setting_that_fails_while_measured_leaves_the_others() -> None:
    def check(name: str, rows: list[int], outputs: Arrays) -> None:
        if name == SPINNING:
            raise WorkerError("wrong")

    lines = list(search(replace(subject(0, {}), check=check), VARIANTS))
    assert f"  {SPINNING}    failed: wrong" in lines
    assert len(VARIANTS) - 1 == sum("x [" in line for line in lines[: len(VARIANTS)])


BAD = {
    "several cases": (["test_toy.py", "-k", "choosy"], "tune takes one case, and "),
    "no case": (["test_toy.py", "-k", "nobody"], "test_toy.py: no case matches -k 'nobody'"),
    "missing suite": (["test_nowhere.py"], "test_nowhere.py: no such suite"),
    "missing device": (
        ["test_toy.py", "-k", "pytorch and cuda"],
        "pytorch.cuda cannot run here; choose another",
    ),
    "infinite budget": (["test_toy.py", "-k", "choosy.cpu", "--budget=inf"], "--budget inf: must be positive, in"),
    "no budget": (["test_toy.py", "-k", "choosy.cpu", "--budget=0"], "--budget 0: must be positive"),
    "budget in words": (["test_toy.py", "-k", "choosy.cpu", "--budget=all"], "invalid float value: 'all'"),
    "more threads than cores": (["test_toy.py", "-k", "choosy", "--ship-threads=5000"], "--ship-threads 5000: must"),
    "typo in an option": (["test_typo.py", "-k", "choosy"], "unknown option 'wrk'; expected one of threads, "),
}


def test_bad_input_is_refused_before_training(toy: Toy) -> None:
    toy.copy("choosy.py", "own.py", "bag.py")
    suite = (toy.folder / "test_toy.py").read_text()
    (toy.folder / "test_typo.py").write_text(suite.replace("work=", "wrk="))
    own = f"--ship-artifacts={toy.artifacts / 'none'}"
    runs = toy.commands(*(("harness", "tune", *arguments, own) for arguments, _ in BAD.values()))
    for (mistake, (_, message)), run in zip(BAD.items(), runs, strict=True):
        assert (2 if mistake == "budget in words" else 4) == run.status, mistake
        assert message in "\n".join(run.err)
        assert "Traceback" not in "".join(run.err[:1])
    assert not (toy.artifacts / "none").exists()
