"""A user's own backends: the README's example, backends in other environments, and every way to go wrong."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from ticket_suite import TEAMS, save_suite, suite
from users import environment, readme_example

from conftest import Once, Run, Toy, distribution
from harness.contracts.backend import Backend, Python
from harness.errors import HarnessError
from harness.kinds import text_classification
from harness.pipeline.state import Stopped, stage
from harness.spec import cases

pytest_plugins = "pytester"
NUMPY, SAFETENSORS = (Path(module.__file__).parent for module in (np, safetensors))


def example() -> str:
    return readme_example('"""ONNX Runtime with', "harness/backends/README.md")


def test_readme_backend_is_short() -> None:
    assert 35 >= len(example().splitlines())


def test_readme_backend_is_built_measured_and_judged(toy: Toy) -> None:
    (toy.folder / "mine.py").write_text(example())
    own = suite().replace("cases(TASK, MODELS)", "cases(TASK, MODELS, backends=[*DEFAULT_BACKENDS, AHEAD])")
    imports = "import pytest\nfrom mine import AHEAD\n\nfrom harness.backends import DEFAULT_BACKENDS\n"
    save_suite(toy.folder, TEAMS[::-1], own.replace("import pytest\n", imports, 1))
    run = toy.run("test_tickets.py", "-p", "no:randomly", "--ship-backends=ahead")
    assert 0 == run.status, run.text
    (result,) = toy.results.values()
    assert ("tickets/mine.ahead.cpu", "ok") == (result.name, result.status)
    assert result.answers is not None
    assert result.artifact is not None
    assert ("onnxruntime", 1.0) == (result.answers.compared_with, result.answers.score)
    assert ["optimised_by"] == list(result.artifact.info)
    assert [1, 16] == [series.workload.batch for series in result.series]


def copy_contrary(toy: Toy, python: Path, requirement: str = "no-such-distribution-at-all") -> None:
    toy.copy("contradicted.py", "contrary.py", "own.py", "bag.py")
    file = toy.folder / "contrary.py"
    text = file.read_text().replace("INTERPRETER", str(python))
    file.write_text(text.replace("no-such-distribution-at-all", requirement))


@pytest.fixture
def contrary(once: Once) -> tuple[Toy, Run]:
    """A suite in which everything goes wrong, except for the reference and five others."""

    def make(toy: Toy) -> Run:
        python = environment(toy.folder / "elsewhere", NUMPY, SAFETENSORS)
        (site_packages,) = (toy.folder / "elsewhere").glob("lib/python*/site-packages")
        distribution(site_packages, "a-mark")
        copy_contrary(toy, python)
        return toy.run("test_toy.py", "-m", "not cuda", "-p", "no:randomly", env={"PIP_NO_INDEX": "1"})

    return once("contrary", make)


RIGHT = {"pytorch", "numpy", "elsewhere", "built-elsewhere", "build-roaming"}
WRONG = {
    "astray-in-build": ("build", r"the backend wrote into the folder that it reads from \(model.safetensors\)"),
    "astray-in-load": ("answer", r"the backend wrote into the folder that it reads from \(model.safetensors\)"),
    "build-leaving": ("build", "build-leaving: the builder ended with exit status 3"),
    "build-exiting": ("build", r"build-exiting: .* ended with exit status 1\n  \| a command, not a library"),
    "build-speechless": ("build", "build-speechless: Speechless, whose message cannot be read: ValueError"),
    "build-listing": ("build", "build-listing: TypeError: build returned list; return a dict of settings to record"),
    "load-nothing": ("answer", "load-nothing: TypeError: load returned NoneType"),
    "load-numbered": ("answer", "load-numbered: TypeError: an output is named 0; use strings as names"),
    "load-raving": ("answer", r"load-raving: ValueError: \\x1b\[2J\\udcffword [word ]* … \(500,\d{3} characters\)\n"),
    "failing-elsewhere": ("build", "failing-elsewhere: ArithmeticError: no such operator over there"),
    "leaving-elsewhere": ("build", "leaving-elsewhere: the builder ended with exit status 3"),
    "needs-torch": ("answer", "needs-torch: ModuleNotFoundError: No module named 'torch'"),
    "unbuildable": ("environment", r"(?s)cannot install no-such-distribution-at-all: correct .*\| ERROR: .*no-such"),
    "load": ("answer", "load: LookupError: no weights for a Wednesday"),
    "load-only-short": ("answer", "load-only-short: OverflowError: too long for me"),
    "load-fewer-rows": ("answer", "load-fewer-rows: logits has 0 rows for a batch of 1"),
    "load-other-shape": ("answer", "the export does not answer as pytorch does: its outputs have the shapes"),
    "load-words": ("answer", r"load-words: logits of test row \d+ is <U\d+ of shape \(1, 3\)"),
    "load-hoarding": ("answer", r"load-hoarding: .*leaks memory"),
    "load-scalar": ("answer", r"load-scalar: logits of test row \d+ is float32 of shape \(\)"),
}


def test_each_mistake_fails_its_own_case_only(contrary: tuple[Toy, Run]) -> None:
    toy, run = contrary
    statuses = {name.split(".")[1]: result.status for name, result in toy.results.items()}
    expected = dict.fromkeys(RIGHT, "ok") | dict.fromkeys(WRONG, "failed") | {"unsupported-elsewhere": "unsupported"}
    assert expected == statuses, run.text


@pytest.mark.parametrize("backend", WRONG)
def test_mistake_has_a_summary_line_and_a_traceback_file(backend: str, contrary: tuple[Toy, Run]) -> None:
    toy, run = contrary
    stage_name, message = WRONG[backend]
    error = toy.results[f"toy/bag.{backend}.cpu"].error
    assert error is not None
    assert stage_name == error.stage
    assert re.match(message, error.message)
    log = f"results/local/toy/bag.{backend}.cpu.log"
    assert run.line(f"toy/bag.{backend}.cpu").startswith(f"{backend:19}  failed     {stage_name}: ")
    assert f"full log: {log}" in run.text
    assert "Traceback (most recent call last)" in (toy.folder / log).read_text()


@pytest.mark.parametrize(
    ("backend", "line"),
    [
        ("failing-elsewhere", 'raise ArithmeticError("no such operator over there")'),
        ("build-speechless", "raise Speechless"),
        ("load", 'raise LookupError("no weights for a Wednesday")'),
        ("load-only-short", 'raise OverflowError("too long for me")'),
    ],
)
def test_traceback_file_has_the_backends_own_traceback(backend: str, line: str, contrary: tuple[Toy, Run]) -> None:
    text = (contrary[0].folder / f"results/local/toy/bag.{backend}.cpu.log").read_text()
    assert f"    {line}\n" in text
    assert "contrary.py" in text


def test_endless_output_stays_in_the_file(contrary: tuple[Toy, Run]) -> None:
    toy, run = contrary
    assert max(map(len, run.out)) < 2_000
    assert "word " * 100_000 in (toy.folder / "results/local/toy/bag.load-raving.cpu.log").read_text()


def test_error_on_a_long_row_names_the_row_and_its_length(contrary: tuple[Toy, Run]) -> None:
    error = contrary[0].results["toy/bag.load-only-short.cpu"].error
    assert error is not None
    (length,) = re.findall(r"\n  asked for test row \d+: .*input_ids \(1, (\d+)\)", error.message)
    assert int(length) > 20


def test_only_failures_have_a_traceback_file(contrary: tuple[Toy, Run]) -> None:
    logs = {path.name.split(".")[1] for path in contrary[0].folder.glob("results/local/toy/*.log")}
    assert WRONG.keys() == logs


def test_unsupported_in_another_environment_skips_with_reason(contrary: tuple[Toy, Run]) -> None:
    assert "unsupported  build: no such head over there" in contrary[1].line("toy/bag.unsupported-elsewhere.cpu")


def test_artifact_is_built_and_run_in_the_named_environments(contrary: tuple[Toy, Run]) -> None:
    toy, _ = contrary
    python = str(toy.folder / "elsewhere" / "bin" / "python")
    for backend, runs in (("elsewhere", python), ("built-elsewhere", sys.executable)):
        result = toy.results[f"toy/bag.{backend}.cpu"]
        assert result.artifact is not None
        assert result.process is not None
        assert (python, runs) == (result.artifact.info["built_by"], result.process.settings["run_by"])


def test_kind_arrives_in_another_environment(contrary: tuple[Toy, Run]) -> None:
    artifact = contrary[0].results["toy/bag.elsewhere.cpu"].artifact
    assert artifact is not None
    kind = text_classification
    expected = [kind.name, kind.tolerance.description, kind.encode.__name__]
    assert expected == [artifact.info[name] for name in ("kind", "like", "reads")]


def test_result_records_packages_of_another_environment(contrary: tuple[Toy, Run]) -> None:
    toy, _ = contrary
    result = toy.results["toy/bag.elsewhere.cpu"]
    assert result.artifact is not None
    assert result.process is not None
    expected = f"a-mark 1.0, numpy {np.__version__}, safetensors {safetensors.__version__}"
    for packages in (result.artifact.info["built_packages"], result.process.settings["packages"]):
        # PYTHONPATH applies to every interpreter, and this test sets it.
        assert expected == re.sub(r", (toydata|shipbench) [\w.]+", "", packages)
    assert "packages" not in toy.results["toy/bag.numpy.cpu"].process.settings


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(5), "SystemExit: 5"),
        (ExceptionGroup("\a", [OSError()]), r"ExceptionGroup: \x07 (1 sub-exception)"),
        (type("Rude", (Exception,), {"__str__": lambda _: 1})(), "Rude, whose message cannot be read: TypeError"),
        (ValueError("x" * 2000), f"ValueError: {'x' * 388} … (2,012 characters)"),
    ],
    ids=["exits", "beeps", "speechless", "raves"],
)
def test_any_exception_of_a_stage_is_recorded(error: BaseException, message: str) -> None:
    with pytest.raises(Stopped) as stopped, stage("build"):
        raise error
    first, place = stopped.value.failure.message.split("\n")
    assert message == first
    assert place.startswith("  raised at test_own_backend.py:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"imports": "torch"}, "imports='torch' must be a tuple of strings"),
        ({"imports": ["torch"]}, "imports=.* must be a tuple of strings"),
        ({"imports": (1,)}, "imports=.* must be a tuple of strings"),
        ({"packages": "tvm"}, "packages='tvm' must be a tuple of strings"),
        ({"builds_in": Python(interpreter="x")}, "builds_in= needs a build="),
        ({"build": cases, "calibrate": cases}, "give one of build=, calibrate= and routes="),
    ],
)
def test_wrong_declaration_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessError, match=f"backend own: .*{message}"):
        Backend(name="own", load=cases, **arguments)  # type: ignore[arg-type]


def test_unusable_environments_are_refused_before_building(toy: Toy) -> None:
    copy_contrary(toy, Path("/nowhere/python"), "onnxruntime=1.2")
    run = toy.run("test_toy.py", "-m", "not cuda", "-p", "no:randomly")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert "/nowhere/python is not a working Python" in run.text
    assert "backend unbuildable: " in run.text
    assert "'onnxruntime=1.2'" in run.text
    assert {} == toy.results
