"""Decoders on ONNX Runtime write the tokens that PyTorch writes, one row or several, without torch or Optimum."""

from time import perf_counter_ns

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_models import build
from tiny_writers import save_writer
from transformers import AutoModelForCausalLM

from harness import checkpoint
from harness.backends import (
    ONNXRUNTIME,
    ONNXRUNTIME_INT4,
    ONNXRUNTIME_INT8,
    ONNXRUNTIME_INT8_STATIC,
    ONNXRUNTIME_O2,
    PYTORCH_COMPILE,
    onnxruntime,
    pytorch,
)
from harness.contracts.backend import Target
from harness.errors import Unsupported
from harness.kinds import text_generation
from harness.training import untrained
from harness.util.decoding import FIRST_NS

CPU = Target("cpu", 1)
PROMPTS = ["one two three", "four", "5"]
NEW_TOKENS = 9


def save(folder, family="llama", new_tokens=NEW_TOKENS):
    """Save a checkpoint as training does; return a batch of its prompts."""
    save_writer(folder, family)
    tokenizer = text_generation.load_processor(folder)
    model, _ = untrained.read_model(AutoModelForCausalLM, folder)
    untrained.state_length(model, tokenizer, new_tokens)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = text_generation.encode(tokenizer, [{"text": text} for text in PROMPTS], ("text",), 32)
    batch = text_generation.collate(tokenizer, [one for (one,) in rows])
    save_file(batch, folder / checkpoint.EXAMPLE)
    return batch


def rows_of(batch):
    for row, mask in enumerate(batch["attention_mask"].astype(bool)):
        yield {name: np.ascontiguousarray(array[row : row + 1, mask]) for name, array in batch.items()}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_graphs_write_what_pytorch_writes(tmp_path, family):
    batch = save(tmp_path / "model", family)
    reference = pytorch.load(tmp_path / "model", CPU).run
    build(ONNXRUNTIME, tmp_path / "model", tmp_path / "float", text_generation)
    build(ONNXRUNTIME_O2, tmp_path / "float", tmp_path / "o2", text_generation)
    expected = reference(batch)["sequences"]
    assert (len(PROMPTS), NEW_TOKENS) == expected.shape
    assert len({*expected.ravel().tolist()}) > 4
    for form in ("float", "o2"):
        run = onnxruntime.load(tmp_path / form, CPU).run
        assert expected.tolist() == run(batch)["sequences"].tolist(), form
        for row, alone in enumerate(rows_of(batch)):
            assert expected[row].tolist() == run(alone)["sequences"][0].tolist(), form


@pytest.mark.parametrize(
    ("backend", "operator"), [(ONNXRUNTIME_INT8, "MatMulInteger"), (ONNXRUNTIME_INT4, "MatMulNBits")]
)
def test_lossy_forms_write_as_many_tokens(tmp_path, backend, operator):
    batch = save(tmp_path / "model")
    build(ONNXRUNTIME, tmp_path / "model", tmp_path / "float", text_generation)
    settings = build(backend, tmp_path / "float", tmp_path / "lossy", text_generation)
    assert operator in settings["operators"]
    answer = onnxruntime.load(tmp_path / "lossy", CPU).run(batch)
    assert (len(PROMPTS), NEW_TOKENS) == answer["sequences"].shape


def test_compiling_says_why_it_cannot(tmp_path):
    save(tmp_path / "model")
    with pytest.raises(Unsupported, match="would compile inside an answer"):
        PYTORCH_COMPILE.load(tmp_path / "model", CPU)


def test_calibration_says_why_it_cannot(tmp_path):
    save(tmp_path / "model")
    with pytest.raises(Unsupported, match="reads the text that it generates"):
        ONNXRUNTIME_INT8_STATIC.calibrate(tmp_path / "model", tmp_path, text_generation, None)


@pytest.mark.parametrize("load", ["pytorch", "onnxruntime"])
def test_first_token_is_chosen_within_the_call(tmp_path, load):
    batch = save(tmp_path / "model", new_tokens=24)
    build(ONNXRUNTIME, tmp_path / "model", tmp_path / "float", text_generation)
    run = (
        pytorch.load(tmp_path / "model", CPU).run
        if load == "pytorch"
        else onnxruntime.load(tmp_path / "float", CPU).run
    )
    run(batch)
    began_ns = perf_counter_ns()
    first_ns = run(batch)[FIRST_NS]
    ended_ns = perf_counter_ns()
    assert (len(PROMPTS),) == first_ns.shape
    assert began_ns < first_ns[0] < (began_ns + ended_ns) / 2


def test_settings_of_the_model_change_no_token(tmp_path):
    batch = save(tmp_path / "model")
    expected = pytorch.load(tmp_path / "model", CPU).run(batch)["sequences"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    model.generation_config.update(do_sample=True, temperature=9.0, repetition_penalty=5.0, min_new_tokens=2)
    untrained.state_length(model, text_generation.load_processor(tmp_path / "model"), NEW_TOKENS)
    assert expected.tolist() == checkpoint.make_run(model.eval(), "cpu")(batch)["sequences"].tolist()
