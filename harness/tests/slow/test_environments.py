"""Environments that pip really builds: two releases of a runtime, and two exporters, in the same rounds."""

import subprocess
import sys

import pytest
from ticket_suite import TEAMS, save_suite, suite

from conftest import Once, Run, Toy

pytest_plugins = "pytester"
RELEASE = "1.23.2"
BACKENDS = f'[ONNXRUNTIME, onnxruntime_at("{RELEASE}"), ONNXRUNTIME_TRANSFORMERS, ONNXRUNTIME_TRANSFORMERS_INT8]'
NAMES = "ONNXRUNTIME, ONNXRUNTIME_TRANSFORMERS, ONNXRUNTIME_TRANSFORMERS_INT8, onnxruntime_at"


@pytest.fixture
def measured(once: Once) -> tuple[Toy, Run]:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--no-deps", "--ignore-installed"]
    found = subprocess.run([*pip, f"onnxruntime=={RELEASE}"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"pip finds no onnxruntime {RELEASE} for this Python: {found.stderr.strip().splitlines()[-1]}")

    def make(toy: Toy) -> Run:
        own = suite().replace("cases(TASK, MODELS)", f"cases(TASK, MODELS, {BACKENDS})")
        own = own.replace("import pytest\n", f"import pytest\nfrom harness.backends import {NAMES}\n", 1)
        save_suite(toy.folder, TEAMS, own)
        return toy.run("test_tickets.py", "-p", "no:randomly", "-m", "not cuda", timeout_s=1800)

    return once("environments", make)


def test_releases_and_exporters_share_their_rounds(measured: tuple[Toy, Run]) -> None:
    toy, run = measured
    assert 0 == run.status, run.text
    found = {result.backend: result for result in toy.results.values()}
    expected = [
        "onnxruntime",
        f"onnxruntime-{RELEASE.replace('.', '-')}",
        "onnxruntime-transformers",
        "onnxruntime-transformers-int8",
    ]
    assert expected == sorted(found)
    assert {"ok"} == {result.status for result in found.values()}
    assert 1 == len({(result.measurement, result.series[0].reference_ns) for result in found.values()})


def test_result_names_the_release_that_ran(measured: tuple[Toy, Run]) -> None:
    found = {result.backend: result.process for result in measured[0].results.values()}
    older = found.pop("onnxruntime-1-23-2")
    assert older is not None
    assert RELEASE == older.settings["onnxruntime"]
    assert f"onnxruntime {RELEASE}," in older.settings["packages"]
    assert all(process is not None and RELEASE != process.settings["onnxruntime"] for process in found.values())


def test_transformers_exports_and_quantises(measured: tuple[Toy, Run]) -> None:
    found = {result.backend: result.artifact for result in measured[0].results.values()}
    exported, quantised = found["onnxruntime-transformers"], found["onnxruntime-transformers-int8"]
    assert exported is not None
    assert quantised is not None
    assert exported.info["exporter"].startswith("OnnxExporter, transformers 5.")
    assert "MatMulInteger" in quantised.info["operators"]
    assert exported.size_bytes > quantised.size_bytes
