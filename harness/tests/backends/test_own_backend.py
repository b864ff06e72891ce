# the expectation stands on the left
"""Backends of somebody's own: in environments of their own, and going wrong in ways of their own."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from conftest import Once, Run, Toy, distribution
from harness.artifacts.build import BuildOrder, build_artifact, pack, unpack
from harness.artifacts.cache import _bare, _installed
from harness.contracts.backend import Backend, Python, Target
from harness.environments.interpreters import describe_interpreter, resolve_environments
from harness.errors import HarnessError, WorkerError
from harness.kinds import __all__ as kinds
from harness.kinds import text_classification
from harness.measure.client import Worker
from harness.pipeline.stages import Stopped, stage
from harness.spec import cases
from harness.util.console import Progress
from harness.util.fingerprints import fingerprint
from harness.util.machine import versions
from harness.util.store import Entry, Store

pytest_plugins = "pytester"


def environment(folder: Path, *packages: Path) -> Path:
    """A virtual environment that holds these packages of this one, and nothing else; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (there,) = folder.glob("lib/python*/site-packages")
    for package in packages:
        for pattern in (package.name, f"{package.name}.libs", f"{package.name}-*.dist-info"):
            for found in package.parent.glob(pattern):
                (there / found.name).symlink_to(found)
    return folder / "bin" / "python"


def standing_in(file: Path) -> dict[str, Any]:
    """The functions of a file."""
    namespace: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)  # noqa: S102
    return namespace


NUMPY, SAFETENSORS = (Path(module.__file__).parent for module in (np, safetensors))


@pytest.fixture(scope="module")
def elsewhere(shared: Path) -> Path:
    python = environment(shared / "elsewhere", NUMPY, SAFETENSORS)
    (there,) = (shared / "elsewhere").glob("lib/python*/site-packages")
    distribution(there, "a-mark")
    return python


@pytest.fixture
def contrary(once: Once, shared: Path) -> tuple[Toy, Run]:
    """A suite in which everything goes wrong but the reference, a backend beside it, and two from elsewhere."""

    def make(toy: Toy) -> Run:
        python = environment(toy.folder / "elsewhere", NUMPY, SAFETENSORS)
        (there,) = (toy.folder / "elsewhere").glob("lib/python*/site-packages")
        distribution(there, "a-mark")
        toy.copy("contradicted.py", "contrary.py", "own.py", "bag.py")
        named = toy.folder / "contrary.py"
        named.write_text(named.read_text().replace("INTERPRETER", str(python)))
        return toy.run("test_toy.py", "-m", "not cuda", "-p", "no:randomly", env={"PIP_NO_INDEX": "1"})

    return once("contrary", make)


RIGHT = {"pytorch", "numpy", "elsewhere", "built-elsewhere", "build-roaming"}
WRONG = {
    "astray-in-build": ("build", r"it wrote into the folder that it was given to read \(model.safetensors\)"),
    "astray-in-load": ("answer", r"it wrote into the folder that it was given to read \(model.safetensors\)"),
    "build-leaving": ("build", "build-leaving: the builder was ended with exit status 3"),
    "build-exiting": ("build", r"build-exiting: .* ended with exit status 1\n  \| a command, not a library"),
    "build-speechless": ("build", "build-speechless: Speechless, which cannot be told: ValueError"),
    "build-listing": ("build", "build-listing: TypeError: build returned list; it returns a dict of what to record"),
    "load-nothing": ("answer", r"load-nothing: TypeError: load returned NoneType; it returns a harness\.Session"),
    "load-numbered": ("answer", "load-numbered: TypeError: an output is named 0; names are words"),
    "load-raving": ("answer", r"load-raving: ValueError: \\x1b\[2J\\udcffword [word ]* … \(500,\d{3} characters\)\n"),
    "failing-elsewhere": ("build", "failing-elsewhere: ArithmeticError: no such operator over there"),
    "leaving-elsewhere": ("build", "leaving-elsewhere: the builder was ended with exit status 3"),
    "needs-torch": ("answer", "needs-torch: ModuleNotFoundError: No module named 'torch'"),
    "unbuildable": ("environment", "no environment could be built from no-such-distribution-at-all: mend"),
    "load": ("answer", "load: LookupError: no weights for a Wednesday"),
    "load-only-short": ("answer", "load-only-short: OverflowError: too long for me"),
    "load-fewer-rows": ("answer", "load-fewer-rows: logits has 0 rows for a batch of 1"),
    "load-other-shape": ("answer", "the export does not answer as pytorch does: it gives"),
    "load-words": (
        "answer",
        r"load-words: logits of test row 0 is <U\d+ of shape \(1, 3\); a backend answers with",
    ),
    "load-hoarding": (
        "measure",
        r"load-hoarding: it leaks memory: asked the same rows 64 times, its worker grew from \d+ to \d+ MB, at last by "
        r"0\.8 MB a call",
    ),
    "load-scalar": ("answer", r"load-scalar: logits of test row 0 is float32 of shape \(\); a backend answers with"),
}


def test_what_goes_wrong_fails_its_own_case_and_the_others_finish(contrary: tuple[Toy, Run]) -> None:
    toy, run = contrary
    found = {name.split(".")[1]: result.status for name, result in toy.results.items()}
    expected = dict.fromkeys(RIGHT, "ok") | dict.fromkeys(WRONG, "failed") | {"unsupported-elsewhere": "unsupported"}
    assert expected == found, run.text


@pytest.mark.parametrize("backend", WRONG)
def test_what_went_wrong_is_a_line_in_the_summary_and_a_traceback_in_a_file(
    backend: str, contrary: tuple[Toy, Run]
) -> None:
    toy, run = contrary
    stage, said = WRONG[backend]
    error = toy.results[f"toy/bag.{backend}.cpu"].error
    assert error is not None
    assert stage == error.stage
    assert re.match(said, error.message)
    log = f"results/local/toy/bag.{backend}.cpu.log"
    assert f" (all of it: {log})" in run.line(f"toy/bag.{backend}.cpu")
    assert f"  all of it: {log}" in run.out
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
def test_the_file_holds_the_backends_own_traceback(backend: str, line: str, contrary: tuple[Toy, Run]) -> None:
    toy, _ = contrary
    told = (toy.folder / f"results/local/toy/bag.{backend}.cpu.log").read_text()
    assert f"    {line}\n" in told.partition("What its process wrote:")[2]
    assert "contrary.py" in told


def test_a_line_of_half_a_million_characters_stands_in_the_file_alone(contrary: tuple[Toy, Run]) -> None:
    toy, run = contrary
    assert max(map(len, run.out)) < 2_000
    assert "word " * 100_000 in (toy.folder / "results/local/toy/bag.load-raving.cpu.log").read_text()


def test_who_fails_on_long_inputs_only_is_told_with_the_row_and_its_length(contrary: tuple[Toy, Run]) -> None:
    toy, _ = contrary
    error = toy.results["toy/bag.load-only-short.cpu"].error
    assert error is not None
    (length,) = re.findall(r"\n  asked for test row \d+: .*input_ids \(1, (\d+)\)", error.message)
    assert int(length) > 20


def test_whoever_passes_has_no_such_file(contrary: tuple[Toy, Run], toy: Toy) -> None:
    left = {path.name.split(".")[1] for path in contrary[0].folder.glob("results/local/toy/*.log")}
    assert WRONG.keys() == left


def test_what_does_not_exist_elsewhere_either_is_skipped_with_its_reason(contrary: tuple[Toy, Run]) -> None:
    _, run = contrary
    assert run.line("toy/bag.unsupported-elsewhere.cpu").startswith(
        "toy/bag.unsupported-elsewhere.cpu  skipped  unsupported at build: no such head over there"
    )


def test_an_artifact_is_built_and_run_where_its_backend_says(contrary: tuple[Toy, Run]) -> None:
    toy, _ = contrary
    python = str(toy.folder / "elsewhere" / "bin" / "python")
    for backend, runs in (("elsewhere", python), ("built-elsewhere", sys.executable)):
        result = toy.results[f"toy/bag.{backend}.cpu"]
        assert result.artifact is not None
        assert result.process is not None
        assert (python, runs) == (result.artifact.info["built_by"], result.process.settings["run_by"])


def test_a_kind_arrives_elsewhere_as_it_is(contrary: tuple[Toy, Run]) -> None:
    toy, _ = contrary
    artifact = toy.results["toy/bag.elsewhere.cpu"].artifact
    assert artifact is not None
    expected = [text_classification.name, text_classification.likeness.allowed, text_classification.encode.__name__]
    assert expected == [artifact.info[name] for name in ("kind", "like", "reads")]


def test_a_result_says_what_was_installed_elsewhere(contrary: tuple[Toy, Run]) -> None:
    toy, _ = contrary
    result = toy.results["toy/bag.elsewhere.cpu"]
    assert result.artifact is not None
    assert result.process is not None
    expected = f"a-mark 1.0, numpy {np.__version__}, safetensors {safetensors.__version__}"
    for told in (result.artifact.info["built_packages"], result.process.settings["packages"]):
        # PYTHONPATH holds for every interpreter, and this test has one.
        assert expected == re.sub(r", (toydata|shipbench) [\w.]+", "", told)
    assert "packages" not in toy.results["toy/bag.numpy.cpu"].process.settings


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SystemExit(5), "SystemExit: 5"),
        (ExceptionGroup("\a", [OSError()]), r"ExceptionGroup: \x07 (1 sub-exception)"),
        (type("Rude", (Exception,), {"__str__": lambda _: 1})(), "Rude, which cannot be told: TypeError"),
        (ValueError("x" * 2000), f"ValueError: {'x' * 988} … (2,012 characters)"),
    ],
    ids=["exits", "beeps", "speechless", "raves"],
)
def test_whatever_a_stage_raises_goes_on_record(error: BaseException, said: str) -> None:
    with pytest.raises(Stopped) as caught, stage("build"):
        raise error
    first, place = caught.value.failure.message.split("\n")
    assert said == first
    assert place.startswith("  raised at test_own_backend.py:")


def test_a_build_that_never_ends_is_given_up(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for folder in (source, out):
        folder.mkdir()
    (tmp_path / "backend.py").write_text(
        "import time\ndef build(source, out, kind):\n    print('far to go', flush=True)\n    time.sleep(3600)\n"
    )
    backend = Backend(name="b", load=cases, build=standing_in(tmp_path / "backend.py")["build"])  # type: ignore[arg-type]
    order = BuildOrder(text_classification, None, threads=1, timeout_s=0.3)
    with pytest.raises(WorkerError, match=r"b: the builder gave no answer within 3\.6 s\n  \| far to go"):
        build_artifact(backend, Entry(source, {}, 0), out, order)


# ------------------------------------------------------------------------------------------------ environments


@pytest.mark.parametrize("name", kinds)
def test_every_kind_can_be_told_to_another_process(name: str) -> None:
    import harness

    kind = getattr(harness, name)
    assert kind == unpack(pack(kind))
    assert replace(kind, axes=("x",)) == unpack(pack(replace(kind, axes=("x",))))


def test_a_worker_elsewhere_finds_this_harness_and_none_of_its_neighbours(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "backend.py").write_text(
        "import sys\nfrom harness import Session\n"
        "def load(artifact, target):\n"
        "    return Session(lambda a: a, 'cpu', {'path': ' '.join(sys.path)})\n"
    )
    load = standing_in(tmp_path / "backend.py")["load"]
    backend = Backend(name="b", load=load, runs_in=Python(interpreter=str(elsewhere)))
    with Worker(backend, tmp_path, Target("cpu", 1), 60) as worker:
        settings = worker.loaded["settings"]
    assert str(NUMPY.parent) not in settings["path"].split()
    assert "a-mark 1.0" in settings["packages"]


def test_what_is_installed_elsewhere_is_part_of_what_is_built_there(elsewhere: Path, tmp_path: Path) -> None:
    other = environment(tmp_path / "other", NUMPY)
    here, there = (Python(interpreter=str(path)) for path in (elsewhere, other))
    assert _installed(here) != _installed(there)
    assert _installed(None) is None
    bare = Backend(name="b", load=text_classification.load_processor)  # type: ignore[arg-type]
    assert bare == _bare(replace(bare, runs_in=here))


ECHO = """
from harness.contracts import Session

def load(artifact, target):
    return Session(run=lambda arrays: arrays, device="cpu", settings={})
"""


def test_another_release_of_what_a_backend_names_is_another_backend_and_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "a-runtime")
    (tmp_path / "own.py").write_text(ECHO)
    named = Backend(name="own", load=standing_in(tmp_path / "own.py")["load"], packages=("a-runtime",))
    first = _installed(None, named.packages)
    with Worker(named, tmp_path, Target("cpu", 1), 60) as worker:
        assert "a-runtime 1.0" == worker.loaded["settings"]["packages"]
    described = tmp_path / "a_runtime-1.0.dist-info" / "METADATA"
    described.write_text(described.read_text().replace("1.0", "2.0"))
    assert first != _installed(None, named.packages)


def test_imports_keep_the_backend_fingerprint() -> None:
    bare = Backend(name="own", load=text_classification.load_processor)  # type: ignore[arg-type]
    timed = replace(bare, imports=("a_runtime",))
    assert (bare, hash(bare), fingerprint(bare)) == (timed, hash(timed), fingerprint(timed))


@pytest.mark.parametrize("imports", ["torch", ["torch"], (1,)])
def test_imports_must_be_a_tuple_of_names(imports: Any) -> None:
    with pytest.raises(HarnessError, match=r"backend own: imports=.*; use a tuple of module names"):
        Backend(name="own", load=text_classification.load_processor, imports=imports)  # type: ignore[arg-type]


def test_names_of_packages_are_a_tuple() -> None:
    with pytest.raises(HarnessError, match=r"backend own: packages='tvm'; it is a tuple of names"):
        Backend(name="own", load=text_classification.load_processor, packages="tvm")  # type: ignore[arg-type]


def test_an_interpreter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"nowhere is no Python that runs: .*; name an environment's bin/python"):
        describe_interpreter(Python(interpreter=str(tmp_path / "nowhere")))


def test_what_is_no_interpreter_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho unknown option -P >&2\nexit 2\n")
    other.chmod(0o755)
    with pytest.raises(HarnessError, match=r"is no Python from 3\.11 on: it says 'unknown option -P'"):
        describe_interpreter(Python(interpreter=str(other)))


def test_an_environment_without_numpy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="has no numpy, which every worker needs"):
        describe_interpreter(Python(interpreter=str(environment(tmp_path / "bare"))))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "name an interpreter, or the requirements"),
        ({"interpreter": "x", "requirements": ("numpy",)}, "name an interpreter, or the requirements"),
        ({"requirements": "numpy"}, r"a tuple of what pip is asked for"),
        ({"requirements": ("numpy", " ")}, r"a tuple of what pip is asked for"),
    ],
)
def test_an_environment_that_means_nothing_is_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        Python(**arguments)  # type: ignore[arg-type]


def test_a_place_to_build_is_refused_where_nothing_is_built() -> None:
    with pytest.raises(HarnessError, match="backend b: builds_in= names an environment, and there is no build="):
        Backend(name="b", load=cases, builds_in=Python(interpreter="x"))  # type: ignore[arg-type]


def test_an_environment_that_pip_cannot_build_is_told_with_what_pip_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    backend = Backend(name="b", load=cases, runs_in=Python(requirements=("no-such-thing==1.0",)))  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match=r"(?s)from no-such-thing==1\.0: mend .*\| ERROR: .*no-such-thing==1\.0"):
        resolve_environments(backend, Store(tmp_path / "store", print), Progress(None))
    assert [] == [path for path in (tmp_path / "store" / "environments").iterdir() if path.is_dir()]


WHEEL = {
    "numpy/__init__.py": "",
    "numpy-9.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: numpy\nVersion: 9.0\n",
    "numpy-9.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "numpy-9.0.dist-info/entry_points.txt": "[console_scripts]\nsay = numpy:print\n",
    "numpy-9.0.dist-info/RECORD": "",
}


def test_an_environment_is_built_once_with_pip_as_it_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "numpy-9.0-py3-none-any.whl", "w") as wheel:
        for name, content in WHEEL.items():
            wheel.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    said: list[str] = []
    store = Store(tmp_path / "store", said.append)
    backend = Backend(name="b", load=cases, runs_in=Python(requirements=("numpy==9.0",)))  # type: ignore[arg-type]
    home = resolve_environments(backend, store, Progress(None))
    assert home == resolve_environments(backend, store, Progress(None))
    assert home.runs_in is not None
    assert "numpy 9.0" in describe_interpreter(home.runs_in)["packages"]
    python = Path(home.runs_in.executable)
    # It was built in another folder: its scripts know where they are now.
    # Beyond 127 characters pip names the interpreter in the second line, as no system takes a longer first one.
    assert f"{python.parent}/" in "".join((python.parent / "say").read_text().splitlines()[:2])
    assert [] == said
    next(python.parents[1].glob("lib/python*/site-packages/numpy/__init__.py")).write_text("broken = True")
    assert home == resolve_environments(backend, store, Progress(None))
    assert 1 == len(said)
    assert "corrupt" in said[0]


def test_other_requirements_make_another_environment_and_other_orders_do_not() -> None:
    from harness.environments.interpreters import environment_key

    found = [environment_key(Python(requirements=given)) for given in (("a", "b"), ("b", "a"), ("a", "b==1"))]
    assert found[0] == found[1] != found[2]
    assert versions()  # of this environment, which is no part of the other one


def test_what_is_wrong_with_an_environment_is_said_before_anything_is_built(toy: Toy) -> None:
    toy.copy("contradicted.py", "contrary.py", "own.py", "bag.py")
    named = toy.folder / "contrary.py"
    text = named.read_text().replace("INTERPRETER", "/nowhere/python")
    named.write_text(text.replace("no-such-distribution-at-all", "onnxruntime=1.2"))
    run = toy.run("test_toy.py", "-m", "not cuda", "-p", "no:randomly")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert "/nowhere/python is no Python that runs" in run.text
    assert "backend unbuildable: pip would not understand 'onnxruntime=1.2'" in run.text
    assert {} == toy.results
