"""Lines of a card for kinds without a published suite: by Optimum they answer what PyTorch's lines answer."""

from dataclasses import replace

import factory
import pytest
import tiny_kinds
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
)

from harness import kinds
from harness.backends.onnx_export import export
from harness.publish.licences import Licence
from harness.publish.snippets import Subject, code

TEXTS = ["the minister said that elections were postponed again", "markets fell sharply after results"]
ASKED = {
    "token-classification": (TEXTS[0].split(),),
    "fill-mask": ("the [MASK] said that elections were postponed",),
    "question-answering": ("who said ?", TEXTS[0]),
    "feature-extraction": (TEXTS[0],),
    "translation": (TEXTS[0],),
    "summarization": (TEXTS[1],),
}


def model(name, words):
    torch.manual_seed(0)
    size = {"vocab_size": words, "max_position_embeddings": 64}
    if name in ("translation", "summarization"):
        layers = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
        heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
        ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
        config = BartConfig(**size, **layers, **heads, **ends, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64)
        writer = BartForConditionalGeneration(config)
        # Words, which one that has learnt nothing would not write.
        writer.generation_config.update(max_length=8, min_new_tokens=4, suppress_tokens=[0, 1, 2, 4])
        return writer
    heads = {
        "token-classification": BertForTokenClassification,
        "fill-mask": BertForMaskedLM,
        "question-answering": BertForQuestionAnswering,
        "feature-extraction": BertModel,
    }
    config = BertConfig(**size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    config.id2label, config.label2id = {0: "a", 1: "b"}, {"a": 0, "b": 1}
    return heads[name](config)


@pytest.mark.parametrize("name", sorted(ASKED))
def test_optimums_lines_answer_as_pytorchs(tmp_path, name):
    typed = [] if name in ("translation", "summarization") else ["token_type_ids"]
    tokenizer = tiny_kinds._tokenizer(TEXTS, ["input_ids", *typed, "attention_mask"])
    tokenizer.save_pretrained(tmp_path)
    model(name, len(tokenizer)).eval().save_pretrained(tmp_path)
    known = factory.result("onnxruntime", recipe={"max_length": 32})
    nobody = Licence("unknown", "a toy")
    subject = Subject(
        result=replace(known, data=replace(known.data, kind=name, labels=("a", "b"))),
        group=[known],
        folder=tmp_path,
        called=str(tmp_path),
        repo=None,
        model_licence=nobody,
        data_licence=nobody,
    )
    answers = []
    for _ in ("pytorch", "onnxruntime"):
        lines = code(subject)
        space: dict = {}
        exec(lines, space)  # noqa: S102  # as its reader does
        answers.append(space["answer"](*ASKED[name]))
        if not (tmp_path / "onnx").exists():
            assert "from optimum" not in lines
            (tmp_path / "onnx").mkdir()
            kind = getattr(kinds, name.replace("-", "_"))
            export(tmp_path, tmp_path / "onnx", kind)
    assert "from optimum" in lines
    assert answers[0]
    expected = pytest.approx(answers[0], abs=1e-5) if name == "feature-extraction" else answers[0]
    assert expected == answers[1]
