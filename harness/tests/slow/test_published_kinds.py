"""Cards of kinds that no published suite covers: the lines for graphs answer as PyTorch's lines do."""

from dataclasses import replace

import factory
import numpy as np
import pytest
import tiny_kinds
import torch
from documented import printed
from safetensors.numpy import save_file
from tiny_models import build
from tiny_writers import TEMPLATE, WIDE
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from harness.backends import ONNXRUNTIME
from harness.backends.transformers_4 import write_tokenizer_class
from harness.checkpoint import EXAMPLE
from harness.kinds import KINDS
from harness.publish.publication import Publication
from harness.publish.snippets import code

TEXTS = ["the minister said that elections were postponed again", "markets fell sharply after results"]
INPUTS = {
    "token-classification": (TEXTS[0].split(),),
    "fill-mask": ("the [MASK] said that elections were postponed",),
    "question-answering": ("who said ?", TEXTS[0]),
    "feature-extraction": (TEXTS[0],),
    "multi-label-classification": (TEXTS[0],),
    "text-regression": (TEXTS[0], TEXTS[1]),
    "zero-shot-classification": (TEXTS[0],),
    "multiple-choice": (TEXTS[0], ["elections again", "markets", "the minister fell sharply"]),
    "translation": (TEXTS[0],),
    "summarization": (TEXTS[1],),
    "text-generation": (TEXTS[0],),
    "chat-completion": (TEXTS[1],),
    "language-modeling": (TEXTS[0],),
}
GENERATION = ("translation", "summarization")
CONTINUING = ("text-generation", "chat-completion", "language-modeling")


def model(name, words):
    torch.manual_seed(0)
    size = {"vocab_size": words, "max_position_embeddings": 64}
    if name in GENERATION:
        layers = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
        heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
        ends = {
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "decoder_start_token_id": 3,
            "forced_eos_token_id": 3,
        }
        config = BartConfig(**size, **layers, **heads, **ends, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64)
        writer = BartForConditionalGeneration(config)
        # An untrained model would write special tokens only.
        writer.generation_config.update(max_length=8, min_new_tokens=4, suppress_tokens=[0, 1, 2, 4])
        return writer
    if name in CONTINUING:
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        continuer = LlamaForCausalLM(LlamaConfig(**size, **sizes, initializer_range=WIDE, eos_token_id=3))
        continuer.generation_config.update(max_new_tokens=None if name == "language-modeling" else 6)
        return continuer
    heads = {
        "token-classification": BertForTokenClassification,
        "fill-mask": BertForMaskedLM,
        "question-answering": BertForQuestionAnswering,
        "feature-extraction": BertModel,
        "multi-label-classification": BertForSequenceClassification,
        "text-regression": BertForSequenceClassification,
        "multiple-choice": BertForMultipleChoice,
        "zero-shot-classification": BertForSequenceClassification,
    }
    config = BertConfig(**size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    config.id2label, config.label2id = {0: "a", 1: "b"}, {"a": 0, "b": 1}
    if name == "text-regression":
        config.num_labels = 1
    made = heads[name](config)
    if name == "multi-label-classification":
        made.classifier.bias.data.fill_(1.0)  # so that it has labels to answer
    return made


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_lines_for_graphs_answer_as_pytorch_lines(tmp_path, name):
    typed = [] if name in GENERATION + CONTINUING else ["token_type_ids"]
    tokenizer = tiny_kinds._tokenizer(TEXTS, ["input_ids", *typed, "attention_mask"])
    tokenizer.chat_template = TEMPLATE if name == "chat-completion" else None
    if name == "zero-shot-classification":
        texts = ["This is politics.", "This is the economy."]
        tokenizer.init_kwargs["shipbench_zero_shot"] = {"hypotheses": texts, "entailment": 0}
    tokenizer.save_pretrained(tmp_path)
    model(name, len(tokenizer)).eval().save_pretrained(tmp_path)
    example = dict(tokenizer(TEXTS, return_tensors="np", padding=True))
    if name == "multiple-choice":
        example = {key: values[:, None] for key, values in example.items()}
    if name == "language-modeling":
        example["position_ids"] = np.maximum(example["attention_mask"].cumsum(-1) - 1, 0)
    save_file(example, tmp_path / EXAMPLE)
    result = factory.result("onnxruntime", recipe={"max_length": 32})
    publication = Publication(
        result=replace(result, data=replace(result.data, kind=name, labels=("a", "b"))),
        comparison=[result],
        folder=tmp_path,
        folder_name=str(tmp_path),
        repo=None,
        inputs=frozenset(),
    )

    def answer(runtime):
        lines = code(publication)
        assert ("from_pretrained(path).eval()" in lines) == (runtime == "torch")
        assert ("from optimum" in lines) == (runtime == "optimum")
        (value,) = printed(f"{lines}\n\nprint(repr(answer(*{INPUTS[name]!r})))", tmp_path)  # as its reader does
        return value

    expected = answer("torch")
    assert expected
    build(ONNXRUNTIME, tmp_path, tmp_path / "onnx", KINDS[name])
    if name in GENERATION:
        write_tokenizer_class(tmp_path)
        answered = answer("optimum")
    else:
        answered = answer("onnxruntime")
    is_numeric = name in ("feature-extraction", "text-regression", "language-modeling")
    assert (pytest.approx(expected, rel=1e-5, abs=1e-5) if is_numeric else expected) == answered
