"""Cards of kinds that no published suite covers: Optimum's lines answer as PyTorch's lines do."""

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

from harness.backends.onnx_export import export
from harness.kinds import KINDS
from harness.publish.snippets import Publication, code

TEXTS = ["the minister said that elections were postponed again", "markets fell sharply after results"]
INPUTS = {
    "token-classification": (TEXTS[0].split(),),
    "fill-mask": ("the [MASK] said that elections were postponed",),
    "question-answering": ("who said ?", TEXTS[0]),
    "feature-extraction": (TEXTS[0],),
    "translation": (TEXTS[0],),
    "summarization": (TEXTS[1],),
}
GENERATION = ("translation", "summarization")


def model(name, words):
    torch.manual_seed(0)
    size = {"vocab_size": words, "max_position_embeddings": 64}
    if name in GENERATION:
        layers = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
        heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
        ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
        config = BartConfig(**size, **layers, **heads, **ends, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64)
        writer = BartForConditionalGeneration(config)
        # An untrained model would write special tokens only.
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


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_optimum_lines_answer_as_pytorch_lines(tmp_path, name):
    typed = [] if name in GENERATION else ["token_type_ids"]
    tokenizer = tiny_kinds._tokenizer(TEXTS, ["input_ids", *typed, "attention_mask"])
    tokenizer.save_pretrained(tmp_path)
    model(name, len(tokenizer)).eval().save_pretrained(tmp_path)
    result = factory.result("onnxruntime", recipe={"max_length": 32})
    publication = Publication(
        result=replace(result, data=replace(result.data, kind=name, labels=("a", "b"))),
        comparison=[result],
        folder=tmp_path,
        folder_name=str(tmp_path),
        repo=None,
        inputs=frozenset(),
    )

    def answer():
        lines, space = code(publication), {}
        exec(lines, space)  # noqa: S102  # as its reader does
        return "from optimum" in lines, space["answer"](*INPUTS[name])

    by_optimum, expected = answer()
    assert not by_optimum
    assert expected
    (tmp_path / "onnx").mkdir()
    export(tmp_path, tmp_path / "onnx", KINDS[name])
    by_optimum, answered = answer()
    assert by_optimum
    assert (pytest.approx(expected, abs=1e-5) if name == "feature-extraction" else expected) == answered
