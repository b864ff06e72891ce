"""Text generation: prompts as they are and as chats, what is trained, what is refused, and how answers are read."""

import numpy as np
import pytest
from tiny_writers import END, TEMPLATE, byte_tokenizer

from harness.backends import PYTORCH
from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Folder, Local
from harness.errors import HarnessError
from harness.kinds import chat_completion, text_generation
from harness.spec import Case, Model, Task

ROW = {"prompt": "2+2=", "label": "4"}


@pytest.fixture
def folder(tmp_path):
    byte_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def encode(kind, tokenizer, rows, length=64):
    return EncodedRows(tokenizer, rows, ("prompt",), kind.encode(tokenizer, rows, ("prompt",), length), length)


def test_missing_padding_token_is_the_end_of_texts(folder):
    tokenizer = text_generation.load_processor(folder)
    assert END == tokenizer.pad_token
    encoded = encode(text_generation, tokenizer, [ROW, {**ROW, "prompt": "x"}])
    batch = text_generation.collate(tokenizer, [example for (example,) in encoded.examples])
    assert [[1, 1, 1, 1], [0, 0, 0, 1]] == batch["attention_mask"].tolist()
    assert [0, 0, 0] == batch["input_ids"][1, :3].tolist()


def test_tokenizer_with_neither_padding_nor_end_is_refused(tmp_path):
    byte_tokenizer().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(file.read_text().replace('"eos_token"', '"cls_token"'))
    with pytest.raises(HarnessError, match="no padding token"):
        text_generation.load_processor(tmp_path)


def test_chat_needs_a_template(folder):
    with pytest.raises(HarnessError, match=r"no chat template.*choose text-generation"):
        chat_completion.load_processor(folder)


def test_chat_is_the_templates_text(tmp_path):
    byte_tokenizer(chat_template=TEMPLATE).save_pretrained(tmp_path)
    tokenizer = chat_completion.load_processor(tmp_path)
    ((example,),) = encode(chat_completion, tokenizer, [ROW]).examples
    assert "user: 2+2=\nassistant:" == tokenizer.decode(example["input_ids"])
    ((plain,),) = encode(text_generation, tokenizer, [ROW]).examples
    assert "2+2=" == tokenizer.decode(plain["input_ids"])


def test_prompts_are_never_cut(folder):
    tokenizer = text_generation.load_processor(folder)
    rows = [ROW, {**ROW, "prompt": "2+2+2="}]
    with pytest.raises(HarnessError, match=r"1 of 2 prompts are longer than max_length=5.*raise it to 6.*'2\+2\+2='"):
        encode(text_generation, tokenizer, rows, 5)


def test_two_columns_of_prompts_are_refused(folder):
    with pytest.raises(HarnessError, match="one column"):
        text_generation.encode(text_generation.load_processor(folder), [ROW], ("prompt", "label"), 9)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ROW, ""),
        ({"prompt": " ", "label": "4"}, "prompt is empty"),
        ({"prompt": "2+2=", "label": "\n"}, "the reference is empty"),
        ({"prompt": "2+2=", "label": ["4"]}, "the reference is list, not text"),
    ],
)
def test_empty_prompts_and_references_are_problems(row, problem):
    assert problem == text_generation.problem(row, ("prompt",))


def test_loss_is_of_the_reference_and_an_end(folder):
    tokenizer = text_generation.load_processor(folder)
    ((target,),) = text_generation.targets(encode(text_generation, tokenizer, [ROW]))
    assert f"2+2=4{END}" == tokenizer.decode(target["input_ids"])
    assert [-100] * 4 + target["input_ids"][4:] == target["labels"]
    assert len(target["attention_mask"]) == len(target["labels"])


def test_answers_end_where_the_model_ends_them(folder):
    tokenizer = text_generation.load_processor(folder)
    tokens = tokenizer(" 4\n").input_ids
    outputs = [{"sequences": np.array([[*tokens, 0, 0]])}]
    assert ["4"] == text_generation.predict(encode(text_generation, tokenizer, [ROW]), outputs)
    assert 5 == text_generation.tokens(tokenizer, outputs[0])


def test_remark_counts_unfinished_answers(folder):
    tokenizer = text_generation.load_processor(folder)
    (folder / "generation_config.json").write_text('{"max_new_tokens": 3, "eos_token_id": 0}')
    outputs = [{"sequences": np.array([[5, 0, 0]])}, {"sequences": np.array([[5, 6, 7]])}]
    remark = text_generation.remark(folder, encode(text_generation, tokenizer, [ROW, ROW]), outputs)
    assert "writes 3 tokens after prompts of 4 to 4" in remark
    assert "1 of 2 answers end by themselves" in remark
    assert "raise new_tokens" in remark
    assert END in remark


def case(kind, **changes):
    task = Task(name="t", kind=kind, dataset=Folder("r.csv"), inputs=("prompt",), label="l", metric="chrf")
    return Case(task=task, model=Model(name="m", source=Local("m"), **changes), backend=PYTORCH, device="cpu")


def test_number_of_new_tokens_must_be_stated():
    with pytest.raises(HarnessError, match="text-generation needs new_tokens="):
        case("text-generation")
    with pytest.raises(HarnessError, match="new_tokens=0 must be positive"):
        case("text-generation", new_tokens=0)
    assert 8 == case("text-generation", new_tokens=8).model.new_tokens


def test_other_kinds_refuse_new_tokens():
    task = Task(name="t", kind="fill-mask", dataset=Folder("r.csv"), inputs=("text",), metric="top-1")
    with pytest.raises(HarnessError, match="fill-mask writes no text; omit it"):
        Case(task=task, model=Model(name="m", source=Local("m"), new_tokens=8), backend=PYTORCH, device="cpu")
    assert case("translation", new_tokens=8)
