"""The suite in the documents about speech, by CTC and by a model that writes, to verdicts and the lines of a card."""

import ast
import os
import subprocess
import sys

import pytest
from tiny_models import resolve
from users import readme_example

from conftest import Once, Run, Toy
from harness.backends.onnx_export import OPTIMUM
from harness.environments.interpreters import interpreter_environment

pytest_plugins = "pytester"
pytest.importorskip("soundfile")
pytest.importorskip("jiwer")
tiny_speech = pytest.importorskip("tiny_speech")

FLOAT = ("pytorch", "onnxruntime", "onnxruntime-o2")
WRITING = {
    "ctc-speech-recognition": "automatic-speech-recognition",
    '"orders",\n    kind': '"written-orders",\n    kind',
    "my-ctc": "my-whisper",
}


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    def make(toy: Toy) -> Run:
        tiny_speech.write_songs(toy.folder / "orders", 300)
        tiny_speech.save_ctc(toy.folder / "my-ctc")
        tiny_speech.save_whisper(toy.folder / "my-whisper")
        # Weights that were never trained need larger steps.
        suite = readme_example('"""Orders', "suites/README.md").replace(
            "epochs=3", "epochs=20, learning_rate=5e-3, warmup=0.1"
        )
        (toy.folder / "test_orders.py").write_text(suite)
        for own, other in WRITING.items():
            suite = suite.replace(own, other)
        (toy.folder / "test_written.py").write_text(suite.replace("max_score=0.30", "max_score=2.0"))
        return toy.run("-v", "-m", "not cuda", "--ship-budget=8", undecided=True, timeout_s=900)

    return once("documented-speech", make)


@pytest.mark.parametrize("task", ["orders", "written-orders"])
def test_documented_suite_reaches_verdicts(ran, task):
    toy, run = ran
    assert 0 == run.status, run.text
    results = {result.backend: result for result in toy.results.values() if result.task == task}
    assert {*FLOAT, "onnxruntime-int8"} <= {*results}
    assert {"ok"} == {result.status for result in results.values()}
    assert 1 == len({results[name].answers.score for name in FLOAT})
    assert {"wer": "in lower case, without punctuation"}.items() <= results["pytorch"].data.readings.items()


def test_notes_are_learnt(ran):
    toy, _ = ran
    answers = toy.results["orders/mine.pytorch.cpu"].answers
    assert answers.score < 0.1
    assert answers.other_scores["cer"] < 0.1


@pytest.mark.parametrize("task", ["orders", "written-orders"])
def test_published_lines_answer_alike(ran, task):
    toy, _ = ran
    answers = {}
    for backend in ("pytorch", "onnxruntime"):
        words = ("publish", f"{task}/mine.{backend}.cpu", "--to", f"{task}-{backend}", "--anyway")
        done = toy.command("harness", *words, "--ship-artifacts", str(toy.artifacts))
        assert 0 == done.status, done.text
        card = (toy.folder / f"{task}-{backend}" / "README.md").read_text()
        assert "type: automatic-speech-recognition" in card
        lines = card.split("```python\n")[1].split("```")[0]
        ask = "import soundfile\nfor number in range(6):\n    samples, _ = soundfile.read(f'orders/{number}.wav')\n"
        ask += "    print(repr(answer(samples.astype('float32'))))"
        variables = os.environ
        if "from optimum" in lines:
            variables = interpreter_environment(resolve(OPTIMUM), variables)
        run = subprocess.run(
            [sys.executable, "-c", f"{lines}\n{ask}"], capture_output=True, text=True, cwd=toy.folder, env=variables
        )
        assert not run.returncode, run.stderr
        answers[backend] = [ast.literal_eval(line) for line in run.stdout.splitlines()]
    assert answers["pytorch"] == answers["onnxruntime"]
