"""The suite in the documents about speech, by CTC and by a model that writes, to verdicts and the lines of a card."""

from pathlib import Path

import pytest
from documented import documented_suite, published_answers, run_suites

from conftest import Once, Run, Toy

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
    def write(folder: Path) -> None:
        tiny_speech.write_songs(folder / "orders", 300)
        tiny_speech.save_ctc(folder / "my-ctc")
        tiny_speech.save_whisper(folder / "my-whisper")

    # Weights that were never trained need larger steps.
    trained = {"epochs=3": "epochs=20, learning_rate=5e-3, warmup=0.1"}
    writing = trained | WRITING | {"max_score=0.30": "max_score=2.0"}
    suites = {
        "test_orders.py": documented_suite("Orders", trained),
        "test_written.py": documented_suite("Orders", writing),
    }
    return run_suites(once, "speech", write, suites)


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
    lines = "import soundfile\nfor number in range(6):\n    samples, _ = soundfile.read(f'orders/{number}.wav')\n"
    own, other = published_answers(toy, f"{task}/mine", f"{lines}    print(repr(answer(samples.astype('float32'))))")
    assert 6 == len(own)
    assert own == other
    card = toy.folder / f"out-{task}-mine.pytorch.cpu" / "README.md"
    assert "type: automatic-speech-recognition" in card.read_text()
