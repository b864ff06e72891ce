"""A suite that cannot be imported is reported as one message with its place."""

import runpy
import subprocess
import sys

import pytest

from harness.pytest_plugin.plugin import import_problem

SUITE = """\
from harness import Folder, Task

def make(**changes):
    return Task(name="toy", kind="text-classification", dataset=Folder("rows.csv"), inputs=("text",), label="team",
                **changes)

TASK = make(metric="acuracy")
"""


def pytest_output(folder, text, *arguments):
    """Return what pytest prints about a suite with this text."""
    (folder / "test_toy.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_toy.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_wrong_declaration_is_a_message_and_its_line(tmp_path):
    text = pytest_output(tmp_path, SUITE)
    assert "test_toy.py:4: " in text
    assert "'acuracy'" in text
    assert "did you mean 'accuracy'?" in text
    assert "Traceback" not in text
    assert "spec.py" not in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("from harness.backends import ONNXRUNTIM", "harness.backends: unknown name 'ONNXRUNTIM'; expected one of"),
        ("from harness.backends import ONNXRUNTIM", "did you mean 'ONNXRUNTIME'?"),
        ("from harness import Taks", "harness: unknown name 'Taks'; expected one of Arrays, Backend, "),
        ("from harness import Taks", "did you mean 'Task'?"),
        ("import harness.backend", "unknown module 'harness.backend'; expected one of"),
        ("from harness.metric import f1", "did you mean 'harness.metrics'?"),
        ("from harness.kinds import text_clasification", "did you mean 'text_classification'?"),
    ],
)
def test_misspelt_name_gets_a_suggestion(line, message, tmp_path):
    path = tmp_path / "test_toy.py"
    path.write_text(f"\n{line}\n")
    with pytest.raises(ImportError) as error:
        runpy.run_path(str(path))
    problem = import_problem(error.value, tmp_path)
    assert problem.startswith("test_toy.py:2: ")
    assert message in problem


def test_misspelt_import_is_reported_by_pytest(tmp_path):
    text = pytest_output(tmp_path, "from harness.backends import ONNXRUNTIM\n")
    assert "test_toy.py:1: harness.backends: unknown name 'ONNXRUNTIM'" in text
    assert "Traceback" not in text


def test_other_errors_keep_their_traceback(tmp_path):
    (tmp_path / "harness_notes.py").write_text("")
    text = pytest_output(tmp_path, "import harness, harness_notes\nharness_notes.toy(1)\n")
    assert "AttributeError" in text
    assert "test_toy.py:2" in text
