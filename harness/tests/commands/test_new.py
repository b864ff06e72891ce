"""`shipbench new`: what is guessed for each kind and why, what is refused, and that the suite runs as written."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_pictures
import toy_hub
import transformers
from PIL import Image
from ticket_suite import save_suite
from tiny_writers import save_writer

from harness.commands import cli
from harness.commands.new import _code
from harness.contracts.sources import Folder, Hub
from harness.data import inspection
from harness.errors import HarnessError
from harness.kinds import KINDS
from harness.kinds.common import word_tokenizer
from harness.spec import Gate, Model, Recipe
from harness.training.folder_checks import heads
from harness.util.identity import load_symbol

pytest_plugins = "pytester"
server = toy_hub.server

TEAMS = ("billing", "delivery", "repairs")
TICKETS = [{"text": f"please help me with {n}", "team": TEAMS[n % 3], "day": f"2024-01-{n % 28}"} for n in range(300)]
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def save(folder: Path, head: str, labels: tuple[str, ...] = (), family: str = "Bert", **config: object) -> None:
    """Save a tiny model with random weights and its tokenizer."""
    tokenizer = word_tokenizer(["please help me with a question about the number it is O"], 100)
    named = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}} if labels else {}
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": 0, **SIZES, **named}
    model = getattr(transformers, f"{family}{head}")
    model(getattr(transformers, f"{family}Config")(**(sizes | config))).save_pretrained(folder)
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    tokenizer.save_pretrained(folder)


def save_vit(folder: Path, labels: tuple[str, ...]) -> None:
    config = transformers.ViTConfig(**SIZES, image_size=8, patch_size=4, id2label=dict(enumerate(labels)))
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(folder)


def save_images(folder: Path) -> None:
    for number in range(60):
        place = folder / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")


def save_lines(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def new(tmp_path, monkeypatch, capsys):
    """A function that runs the command in a folder and returns its status and output."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        status = cli.main(["new", *words])
        captured = capsys.readouterr()
        return status, captured.err if status else captured.out

    return run


def suite(file: Path) -> tuple[object, Model, Gate]:
    """Return task, model and gate of a suite that was written."""
    task, models = load_symbol(str(file), "TASK"), load_symbol(str(file), "MODELS")
    ((model, gate),) = models.items()
    return task, model, gate


def columns(tmp_path: Path, rows: list[dict[str, object]]) -> list[inspection.Column]:
    save_lines(tmp_path / "rows.jsonl", rows)
    return inspection.read_columns(Folder("rows.jsonl"), tmp_path, (), None)


def guess(kind: str, some: list[inspection.Column], own: tuple[str, ...] = ()) -> tuple[object, ...]:
    return inspection.guess(KINDS[kind], some, own, (), None, [])


# Columns


def test_model_labels_beat_names_of_columns(tmp_path):
    rows = [row | {"label": ("low", "high")[n % 2]} for n, row in enumerate(TICKETS)]
    assert (("text",), "team", ()) == guess("text-classification", columns(tmp_path, rows), TEAMS)
    assert (("text",), "label", ()) == guess("text-classification", columns(tmp_path, rows))


def test_labels_in_other_case_and_numbers_are_matched(tmp_path):
    some = columns(tmp_path, TICKETS)
    assert (("text",), "team", TEAMS) == guess("text-classification", some, ("Billing", "DELIVERY", "repairs"))
    numbered = columns(tmp_path, [{"text": row["text"], "y": n % 3} for n, row in enumerate(TICKETS)])
    assert (("text",), "y", ("0", "1", "2")) == guess(
        "text-classification", numbered, ("LABEL_0", "LABEL_1", "LABEL_2")
    )


def test_odd_names_are_told_apart_by_their_values(tmp_path):
    rows = [{"Nr.": n, "Anliegen": row["text"], "Stelle": row["team"], "w": n / 7} for n, row in enumerate(TICKETS)]
    assert (("Anliegen",), "Stelle", ()) == guess("text-classification", columns(tmp_path, rows))


def test_texts_without_spaces_are_texts(tmp_path):
    rows = [{"a": f"请帮我处理这个问题，谢谢{n}", "b": TEAMS[n % 3]} for n in range(60)]
    assert (("a",), "b", ()) == guess("text-classification", columns(tmp_path, rows))


def flagged(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [
        {"text": row["text"], "late": n % 2, "rude": n // 2 % 2, "urgent": n // 4 % 2} for n, row in enumerate(rows)
    ]


def test_columns_of_0_and_1_are_labels(tmp_path):
    some = columns(tmp_path, flagged(TICKETS))
    assert (("text",), ("late", "rude", "urgent"), ()) == guess("multi-label-classification", some)
    assert "multi-label-classification" == inspection.guess_kind(some, (), None).name
    own = ("Rude", "Urgent", "Late")
    given = inspection.guess(KINDS["multi-label-classification"], some, own, (), ("late", "rude", "urgent"), [])
    assert (("text",), ("late", "rude", "urgent"), ("rude", "urgent", "late")) == given


def test_lists_of_few_names_are_labels(tmp_path):
    rows = [{"text": row["text"], "topics": ["late", "rude"][: n % 3]} for n, row in enumerate(TICKETS)]
    some = columns(tmp_path, rows)
    assert (("text",), "topics", ()) == guess("multi-label-classification", some)
    assert "multi-label-classification" == inspection.guess_kind(some, (), None).name


def test_numbers_with_fractions_or_a_name_are_measures(tmp_path):
    rows = [{"text": row["text"], "id": n, "w": n / 7} for n, row in enumerate(TICKETS)]
    assert (("text",), "w", ()) == guess("text-regression", columns(tmp_path, rows))
    assert "text-regression" == inspection.guess_kind(columns(tmp_path, rows), (), None).name
    rows = [{"text": row["text"], "id": n, "score": n} for n, row in enumerate(TICKETS)]
    assert (("text",), "score", ()) == guess("text-regression", columns(tmp_path, rows))
    rows = [{"text": row["text"], "id": n} for n, row in enumerate(TICKETS)]
    with pytest.raises(HarnessError, match=r"no column of text, id can be the number; name it with --label"):
        guess("text-regression", columns(tmp_path, rows))


def test_tags_of_the_model_are_chosen_among_lists(tmp_path):
    rows = [{"tokens": ["Ann", f"n{n}"], "pos_tags": ["N", "V"], "name_tags": ["B-PER", "O"]} for n in range(60)]
    some = columns(tmp_path, rows)
    assert (("tokens",), "name_tags", ()) == guess("token-classification", some, ("O", "B-PER", "I-PER"))
    with pytest.raises(HarnessError, match="pos_tags, name_tags can each be the list of tags; name it with --label"):
        guess("token-classification", [one for one in some if one.name != "tokens"])


@pytest.mark.parametrize(
    ("kind", "row", "expected"),
    [
        ("question-answering", {"id": "1", "question": "which number is {n} ?", "context": "it is number {n}",
                                "answers": {"text": ["{n}"], "answer_start": [0]}},
         (("question", "context"), "answers")),
        ("feature-extraction", {"answer": "it is the number {n}", "question": "which number is {n} ?"},
         (("question", "answer"), None)),
        ("fill-mask", {"content": "please help me with {n}", "url": "u{n}"}, (("content",), None)),
        ("summarization", {"article": "please help me with {n}", "summary": "help with number {n}"},
         (("article",), "summary")),
        ("translation", {"source": "please help me with {n}", "target": "bitte hilf mir {n}"}, (("source",), "target")),
    ],
)  # fmt: skip
def test_columns_of_each_kind_are_guessed(kind, row, expected, tmp_path):
    rows = [json.loads(json.dumps(row).replace("{n}", str(number))) for number in range(60)]
    assert (*expected, ()) == guess(kind, columns(tmp_path, rows))


def test_two_plausible_labels_are_refused(tmp_path):
    rows = [row | {"urgency": ("low", "high")[n % 2]} for n, row in enumerate(TICKETS)]
    with pytest.raises(HarnessError, match=r"team, urgency can each be the label.*; name it with --label"):
        guess("text-classification", [one for one in columns(tmp_path, rows) if one.name != "day"])


def test_no_plausible_label_is_refused(tmp_path):
    rows = [{"text": row["text"], "id": f"T-{n}", "price": n / 3} for n, row in enumerate(TICKETS)]
    with pytest.raises(
        HarnessError, match=r"no column of text, id, price can be the label, of few .*; name it with --label"
    ):
        guess("text-classification", columns(tmp_path, rows))


def test_languages_are_not_guessed(tmp_path):
    some = columns(
        tmp_path, [{"translation": {"en": f"please help me {n}", "de": f"bitte hilf mir {n}"}} for n in range(60)]
    )
    with pytest.raises(HarnessError, match=r"translation.en, translation.de can each be the text to write"):
        guess("translation", some)
    given = inspection.guess(KINDS["translation"], some, (), (), "translation.de", [])
    assert (("translation.en",), "translation.de", ()) == given


def test_data_without_a_kind_lists_what_was_looked_for(tmp_path):
    with pytest.raises(
        HarnessError, match=r"name one with --kind:(?s:.*)text-classification: no column of a can be the label"
    ):
        inspection.guess_kind(columns(tmp_path, [{"a": n / 7} for n in range(60)]), (), None)


@pytest.mark.parametrize(
    ("inputs", "label", "kind"),
    [
        (("subject",), "team", "text-classification"),
        (("subject", "text"), "team", "text-classification"),
        (("subject",), None, "text-classification"),
        (("subject", "text"), None, "text-classification"),
    ],
)
def test_kind_follows_the_columns_that_are_given(inputs, label, kind, tmp_path):
    rows = [row | {"subject": f"about the number {n}"} for n, row in enumerate(TICKETS)]
    some = [column for column in columns(tmp_path, rows) if column.name != "day"]
    assert kind == inspection.guess_kind(some, inputs, label).name
    ambiguous = [column if column.name != "text" else replace(column, name="subject 2") for column in some]
    with pytest.raises(HarnessError, match="subject 2, subject can each be the text; name it with --inputs"):
        inspection.guess_kind(ambiguous, (), None)


def test_given_label_decides_between_two(tmp_path):
    rows = [row | {"urgency": ("low", "high")[n % 2]} for n, row in enumerate(TICKETS)]
    assert "text-classification" == inspection.guess_kind(columns(tmp_path, rows), (), "urgency").name


def test_declared_names_of_labels_count(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "team": ClassLabel(names=list(TEAMS))})
    rows = {"text": [row["text"] for row in TICKETS], "team": [n % 3 for n in range(300)]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    (column,) = (
        one for one in inspection.read_columns(Folder("rows.parquet"), tmp_path, (), None) if one.name == "team"
    )
    assert {*TEAMS} == column.distinct


# The command


def test_finished_classifier_is_used_as_it_is(new, tmp_path):
    save(tmp_path / "my-model", "ForSequenceClassification", TEAMS)
    pd.DataFrame(TICKETS).to_csv("tickets.csv", index=False)
    status, out = new("--model", "my-model", "--data", "tickets.csv")
    assert (0, 21) == (status, len(Path("test_tickets.py").read_text().splitlines()))
    assert "  --label team: its values are the labels of the model\n" in out
    assert (
        "  max_drop=0.05: the smallest round one that 90 test rows prove even if one answer in a hundred changes\n"
        in out
    )
    assert out.endswith("Run it: pytest test_tickets.py\n")
    task, model, gate = suite(tmp_path / "test_tickets.py")
    assert (Folder("tickets.csv"), ("text",), "team", "accuracy") == (
        task.dataset,
        task.inputs,
        task.label,
        task.metric,
    )
    assert (True, 62, Gate(min_score=0.0, max_drop=0.05)) == (model.is_used_as_is, model.max_length, gate)


@pytest.mark.parametrize("head", ["Model", "ForMaskedLM"])
def test_model_without_a_fitting_head_is_fine_tuned(head, new, tmp_path):
    save(tmp_path / "my-model", head)
    pd.DataFrame(TICKETS).to_csv("tickets.csv", index=False)
    assert 0 == new("--model", "my-model", "--data", "tickets.csv")[0]
    task, model, _ = suite(tmp_path / "test_tickets.py")
    assert ("text-classification", Recipe(epochs=3)) == (task.kind.name, model.recipe)


def test_images_in_folders_need_no_flag(new, tmp_path):
    save_vit(tmp_path / "vit", ("cat", "dog"))
    save_images(tmp_path / "pets")
    assert 0 == new("--model", "vit", "--data", "pets")[0]
    task, model, _ = suite(tmp_path / "test_pets.py")
    assert ("image-classification", ("image",), "label") == (task.kind.name, task.inputs, task.label)
    assert model.is_used_as_is


def test_texts_beside_images_are_read_from_the_metadata(new, tmp_path):
    tiny_pictures.save_writer(tmp_path / "writer")
    tiny_pictures.write_captions(tmp_path / "baskets", 60)
    assert 0 == new("--model", "writer", "--data", "baskets")[0]
    task, model, _ = suite(tmp_path / "test_baskets.py")
    assert ("image-to-text", ("image",), "text") == (task.kind.name, task.inputs, task.label)
    assert model.is_used_as_is


def test_words_without_entities_are_scored_by_word(new, tmp_path):
    save(tmp_path / "tagger", "ForTokenClassification", ("N", "V"))
    save_lines(tmp_path / "words.jsonl", [{"tokens": ["help", f"n{n}"], "tags": ["V", "N"]} for n in range(120)])
    assert 0 == new("--model", "tagger", "--data", "words.jsonl")[0]
    assert "word-accuracy" == suite(tmp_path / "test_words.py")[0].metric


def test_questions_are_answered_from_an_array_of_json(new, tmp_path):
    save(tmp_path / "reader", "ForQuestionAnswering")
    rows = [
        {
            "question": f"which number is {n} ?",
            "context": f"it is {n} now",
            "answers": {"text": [str(n)], "answer_start": [6]},
        }
        for n in range(120)
    ]
    (tmp_path / "squad.json").write_text(json.dumps(rows))
    assert 0 == new("--model", "reader", "--data", "squad.json")[0]
    assert ("question", "context") == suite(tmp_path / "test_squad.py")[0].inputs


def test_writing_model_needs_its_kind_or_a_card(new, tmp_path):
    sizes = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("attention_heads", "layers")}
    save(tmp_path / "writer", "ForConditionalGeneration", family="Bart", d_model=16, decoder_start_token_id=2, **sizes)
    rows = [{"article": f"please help me with {n}", "summary": f"help with number {n}"} for n in range(120)]
    save_lines(tmp_path / "desks.jsonl", rows)
    status, err = new("--model", "writer", "--data", "desks.jsonl")
    assert 4 == status
    assert "for summarization or translation; name the kind with --kind" in err
    (tmp_path / "writer" / "README.md").write_text("---\npipeline_tag: summarization\n---\n")
    assert 0 == new("--model", "writer", "--data", "desks.jsonl")[0]
    task, *_ = suite(tmp_path / "test_desks.py")
    assert ("summarization", "chrf", "summary") == (task.kind.name, task.metric, task.label)


def test_causal_model_is_used_as_it_is(new, tmp_path):
    save_writer(tmp_path / "writer")
    save_lines(tmp_path / "sums.jsonl", [{"prompt": f"{n} and {n} is", "answer": str(2 * n)} for n in range(120)])
    status, out = new("--model", "writer", "--data", "sums.jsonl")
    assert 0 == status, out
    assert "--new-tokens 32: every answer is so long" in out
    task, model, _ = suite(tmp_path / "test_sums.py")
    assert ("text-generation", "chrf", "answer") == (task.kind.name, task.metric, task.label)
    assert (0, 30, 32) == (model.recipe.epochs, model.max_length, model.new_tokens)


def test_native_module_is_trained_by_the_native_loop(new, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bag.py").write_text(
        "import torch\n\n\nclass Bag(torch.nn.Module):\n    def __init__(self, num_labels, vocab_size):\n"
        "        super().__init__()\n        self.bag = torch.nn.EmbeddingBag(vocab_size, num_labels)\n\n"
        "    def forward(self, input_ids):\n        return self.bag(input_ids)\n"
    )
    pd.DataFrame(TICKETS).to_csv("tickets.csv", index=False)
    assert 0 == new("--model", "models/bag.py:Bag", "--data", "tickets.csv")[0]
    _, model, _ = suite(tmp_path / "test_tickets.py")
    assert ("models/bag.py:Bag", "native", "Bag") == (model.source.target, model.recipe.loop, model.name)


def test_paths_are_relative_to_the_suite(new, tmp_path):
    save(tmp_path / "my-model", "ForSequenceClassification", TEAMS)
    pd.DataFrame(TICKETS).to_csv("my tickets (v2).csv", index=False)
    (tmp_path / "suites").mkdir()
    out = "suites/test_mine.py"
    assert 0 == new("--model", str(tmp_path / "my-model"), "--data", "my tickets (v2).csv", "--out", out)[0]
    task, model, _ = suite(tmp_path / out)
    assert ("../my-model", "../my tickets (v2).csv", "my-tickets-v2") == (
        model.source.path,
        task.dataset.path,
        task.name,
    )


def test_repositories_of_the_hub_are_pinned(server, new, tmp_path):
    save(tmp_path / "bert", "Model")
    files = {file.name: file.read_bytes() for file in (tmp_path / "bert").iterdir()}
    server.put("model", "toys/body", toy_hub.COMMIT, files)
    rows = pd.DataFrame(
        {"text": [f"please help me with {n}" for n in range(200)], "label": [n % 2 for n in range(200)]}
    )
    parts = {"rows/train.csv": rows[:100].to_csv(index=False), "rows/test.csv": rows[100:].to_csv(index=False)}
    server.put("dataset", "toys/rows", toy_hub.COMMIT, {name: text.encode() for name, text in parts.items()})
    status, out = new("--model", "toys/body", "--data", "toys/rows")
    assert (0, True) == (status, out.endswith("Run it: pytest --ship-hub test_rows.py\n"))
    task, model, _ = suite(tmp_path / "test_rows.py")
    assert Hub("toys/rows", revision=toy_hub.COMMIT) == task.dataset
    assert Hub("toys/body", revision=toy_hub.COMMIT) == model.source


def test_code_of_a_declaration_evaluates_to_it():
    model = Model(name="a", source=Hub("o/n", "c", revision="0" * 40), recipe=Recipe(epochs=2), max_length=9)
    assert model == eval(_code(model), {"Model": Model, "Hub": Hub, "Recipe": Recipe})  # noqa: S307
    assert 'Folder("ä \\"b\\"", quotes=False)' == _code(Folder('ä "b"', quotes=False))


@pytest.mark.parametrize("status", [0, 7])
def test_run_passes_pytest_s_status_on(status, new, tmp_path, monkeypatch):
    save(tmp_path / "my-model", "ForSequenceClassification", TEAMS)
    pd.DataFrame(TICKETS).to_csv("tickets.csv", index=False)
    commands = []
    ended = subprocess.CompletedProcess([], status)
    monkeypatch.setattr("subprocess.run", lambda command, **_: commands.append(command) or ended)
    assert status == new("--model", "my-model", "--data", "tickets.csv", "--run")[0]
    assert [[sys.executable, "-m", "pytest", "test_tickets.py"]] == commands


def test_written_suite_runs_as_it_is(toy):
    save_suite(toy.folder, ("repairs", "billing", "delivery"))
    (toy.folder / "test_tickets.py").unlink()
    written = toy.command("harness", "new", "--model", "my-model", "--data", "tickets.csv")
    assert (0, "Run it: pytest test_tickets.py") == (written.status, written.out[-1])
    run = toy.run("test_tickets.py", "-k", "pytorch.cpu")
    assert 0 == run.status, run.text
    assert 1.0 == toy.results["tickets/my-model.pytorch.cpu"].answers.score


# Bad input


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "tickts.csv"], r"--data tickts.csv: no such file or folder.*did you mean tickets.csv\?"),
        (["--model", "my-modle"], r"--model my-modle: no such file or folder.*did you mean my-model\?"),
        (["--data", "latin.csv"], r"(?s)latin.csv: line 2 has the byte 0xfc.*flags for this: --encoding"),
        (["--data", "quotes.csv"], r"(?s)quotes.csv: line 2: a quotation mark opens.*flags for this: --quotes"),
        (["--data", "notes"], r"(?s)notes holds .docx, .txt, neither tables \(.csv.*\) nor images.*--data"),
        (["--data", "colours.csv"], r"no column has the model's labels, billing.*colour has blue, red.*--labels"),
        (["--label", "tem"], r"(?s)has no column tem.*did you mean 'team'\?.*--label"),
        (["--metric", "f1"], r"(?s)f1 counts one label.*flags for this: --positive"),
        (["--out", "test_there.py"], "test_there.py exists and is not overwritten; name another file with --out"),
        (["--out", "no/test_a.py"], "no/test_a.py lies in a folder that does not exist; .* --out"),
        (["--model", "notes"], r"(?s)notes has no config.json.*flags for this: .*--model"),
    ],
)
def test_bad_input_names_its_flag(words, message, new, tmp_path):
    save(tmp_path / "my-model", "ForSequenceClassification", TEAMS)
    rows = pd.DataFrame(TICKETS)
    rows.to_csv("tickets.csv", index=False)
    rows.assign(text="für " + rows["text"]).to_csv("latin.csv", index=False, encoding="latin-1")
    rows.assign(team=[("red", "blue")[n % 2] for n in range(300)]).rename(columns={"team": "colour"}).to_csv(
        "colours.csv"
    )
    Path("quotes.csv").write_text('text,team\n"an open quote,billing\nand another row,repairs\n')
    Path("notes").mkdir()
    for name in ("notes/a.txt", "notes/b.docx", "test_there.py"):
        Path(name).write_text("mine")
    before = {*tmp_path.iterdir()}
    given = {"--model": "my-model", "--data": "tickets.csv"} | {words[0]: words[1]}
    status, err = new(*(word for pair in given.items() for word in pair))
    assert (4, True) == (status, re.search(message, err) is not None), err
    assert before == {*tmp_path.iterdir()}
    assert "mine" == Path("test_there.py").read_text()


# Several labels, and numbers


@pytest.mark.parametrize(
    ("problem_type", "labels", "kind"),
    [
        ("multi_label_classification", ("rude", "urgent", "late"), "multi-label-classification"),
        ("regression", ("LABEL_0",), "text-regression"),
        (None, ("LABEL_0",), "text-regression"),
        (None, ("x", "y"), "text-classification"),
    ],
)
def test_head_tells_its_kind(tmp_path, problem_type, labels, kind):
    save(tmp_path / "model", "ForSequenceClassification", labels, problem_type=problem_type)
    assert [kind] == heads(tmp_path / "model")[2]


def test_suite_for_several_labels_is_written(new, tmp_path):
    save(tmp_path / "model", "ForSequenceClassification", ("rude", "urgent", "late"),
         problem_type="multi_label_classification")  # fmt: skip
    save_lines(tmp_path / "rows.jsonl", flagged(TICKETS))
    status, text = new("--model", "model", "--data", "rows.jsonl")
    assert 0 == status, text
    assert "--label late rude urgent: each column has two values, no and yes" in text
    task, model, gate = suite(tmp_path / "test_rows.py")
    assert ("multi-label-classification", "f1-micro") == (task.kind.name, task.metric)
    assert (("late", "rude", "urgent"), ("text",), 0) == (task.label, task.inputs, model.recipe.epochs)
    assert 0.0 == gate.min_score


@pytest.mark.parametrize(("metric", "limit"), [("pearson", {"min_score": 0.0}), ("mae", {"max_score": 20.0})])
def test_suite_for_a_number_is_written(new, tmp_path, metric, limit):
    save(tmp_path / "model", "ForSequenceClassification", ("LABEL_0",), problem_type="regression")
    rows = [{"text": row["text"], "again": f"again {n}", "score": n % 101 / 10} for n, row in enumerate(TICKETS)]
    save_lines(tmp_path / "rows.jsonl", rows)
    status, text = new("--model", "model", "--data", "rows.jsonl", "--inputs", "text", "again", "--metric", metric)
    assert 0 == status, text
    task, model, gate = suite(tmp_path / "test_rows.py")
    assert ("text-regression", "score", ("text", "again")) == (task.kind.name, task.label, task.inputs)
    assert 0 == model.recipe.epochs
    ((name, value),) = limit.items()
    assert pytest.approx(value, rel=0.1) == getattr(gate, name)
    written = (tmp_path / "test_rows.py").read_text()
    placeholder = f"{gate.limit}: lower" if metric == "mae" else "min_score=0.0: raise"
    assert f"# Every sound score reaches {placeholder} it to the score that the model must keep." in written
