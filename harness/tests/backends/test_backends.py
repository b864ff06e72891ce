"""The built-in backends on a native module and on a Transformers model of their own, both untrained."""

from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

from harness import checkpoint
from harness.backends import ONNXRUNTIME, ONNXRUNTIME_INT8, ONNXRUNTIME_O2, PYTORCH
from harness.backends.variants import variant
from harness.contracts.backend import Target
from harness.contracts.sources import Native, Scratch
from harness.errors import Unsupported
from harness.kinds import image_classification, text_classification, translation

SUITES = Path(__file__).parents[3] / "suites"
TEXTS = [{"text": "one two three four"}, {"text": "five six seven"}, {"text": ""}]
int8_preset = import_module("harness.backends.onnx_quantization").int8_preset


def one_each(encoded):
    """The examples of rows that have one."""
    return [example for (example,) in encoded]


@pytest.fixture(scope="module")
def lstm(tmp_path_factory) -> Path:
    source, kind, out = Native("models/lstm.py:LSTMClassifier"), text_classification, tmp_path_factory.mktemp("lstm")
    tokenizer = kind.processor(source, None, TEXTS, ("text",))
    model = checkpoint.create(source, kind, SUITES, None, ("a", "b"), tokenizer)
    example = kind.collate(tokenizer, one_each(kind.encode(tokenizer, TEXTS[:2], ("text",), 16)))
    checkpoint.save(model, source, SUITES, out, tokenizer, example)
    return out


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    source = Scratch(
        config={"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 32, "image_size": 8, "patch_size": 4, "num_channels": 1},
        processor={"image_processor_type": "ViTImageProcessor", "do_resize": False, "image_mean": [0.5],
                   "image_std": [0.5]},
    )  # fmt: skip
    kind, out = image_classification, tmp_path_factory.mktemp("vit")
    rows = [{"image": np.full((8, 8), shade, dtype=np.uint8)} for shade in (0, 90)]
    processor = kind.processor(source, None, rows, ("image",))
    model = checkpoint.create(source, kind, SUITES, None, ("a", "b"), processor)
    example = kind.collate(processor, one_each(kind.encode(processor, rows, ("image",), 0)))
    checkpoint.save(model, source, SUITES, out, processor, example)
    return out


@pytest.fixture(scope="module")
def exported(lstm, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("onnx")
    ONNXRUNTIME.build(lstm, out, text_classification)
    return out


def texts(folder: Path, *rows: int):
    tokenizer = text_classification.load_processor(folder)
    encoded = text_classification.encode(tokenizer, [TEXTS[row] for row in rows], ("text",), 16)
    return text_classification.collate(tokenizer, one_each(encoded))


def test_an_export_answers_as_the_module_does_at_every_batch_and_length(lstm, exported):
    reference, own = PYTORCH.load(lstm, Target("cpu", 1)), ONNXRUNTIME.load(exported, Target("cpu", 1))
    for rows in ((0,), (1,), (2,), (0, 1), (0, 1, 2)):
        batch = texts(lstm, *rows)
        np.testing.assert_allclose(reference.run(batch)["logits"], own.run(batch)["logits"], atol=1e-5)


def test_an_export_says_nothing_of_the_machine_that_made_it(exported, tmp_path):
    bag = Native("models/embedding_bag.py:EmbeddingBagClassifier")  # its graph has a loop
    tokenizer = text_classification.processor(bag, None, TEXTS, ("text",))
    model = checkpoint.create(bag, text_classification, SUITES, None, ("a", "b"), tokenizer)
    encoded = one_each(text_classification.encode(tokenizer, TEXTS[:2], ("text",), 16))
    (tmp_path / "made").mkdir()
    (tmp_path / "out").mkdir()
    example = text_classification.collate(tokenizer, encoded)
    checkpoint.save(model, bag, SUITES, tmp_path / "made", tokenizer, example)
    ONNXRUNTIME.build(tmp_path / "made", tmp_path / "out", text_classification)
    for folder in (exported, tmp_path / "out"):
        model = onnx.load(folder / "model.onnx")
        del model.graph.initializer[:]  # random weights may spell anything
        assert b".py" not in model.SerializeToString()


def test_padding_does_not_change_an_answer(lstm):
    session = PYTORCH.load(lstm, Target("cpu", 1))
    alone, padded = session.run(texts(lstm, 1))["logits"], session.run(texts(lstm, 0, 1))["logits"]
    np.testing.assert_allclose(alone[0], padded[1], atol=1e-6)


def test_int8_reaches_the_layers_of_an_lstm(exported, tmp_path):
    settings = ONNXRUNTIME_INT8.build(exported, tmp_path, text_classification)
    assert "DynamicQuantizeLSTM 2" in settings["operators"]


def test_a_backend_says_where_it_runs(lstm, exported):
    for backend, folder in ((PYTORCH, lstm), (ONNXRUNTIME, exported)):
        session = backend.load(folder, Target("cpu", 1))
        assert ("cpu", "1") == (session.device, session.settings["threads"])


def test_idle_threads_of_onnxruntime_sleep_unless_told_to_spin(exported):
    spinning = [ONNXRUNTIME.load(exported, Target("cpu", 1, spin)).settings["allow_spinning"] for spin in (False, True)]
    assert ["0", "1"] == spinning


@pytest.mark.parametrize("spin", [False, True])
def test_threads_between_nodes_wait_as_those_within_them_do(exported, monkeypatch, spin):
    from harness.backends import onnxruntime

    given, choose = [], onnxruntime._choose
    monkeypatch.setattr(onnxruntime, "_choose", lambda *known: (given.append(known[0]), choose(*known)))
    found = ONNXRUNTIME.load(exported, Target("cpu", 2, spin, {"execution": "parallel"}))
    assert "parallel" == found.settings["execution"]
    told = {given[0].get_session_config_entry(f"session.{pool}.allow_spinning") for pool in ("intra_op", "inter_op")}
    assert {str(int(spin))} == told


DEFAULTS = {"optimisation": "all", "arena": "True", "memory_pattern": "True", "execution": "sequential"}
CHOSEN = [{name: value} for name, values in ONNXRUNTIME.choices.items() for value in values[1:]]


@pytest.mark.parametrize("options", [{}, *CHOSEN, {"arena": False, "optimisation": "basic"}], ids=options_text)
def test_what_is_chosen_for_onnxruntime_is_read_back_and_answers_are_the_same(options, lstm, exported):
    target = Target("cpu", 2)  # with one thread ONNX Runtime falls back to sequential execution
    session = ONNXRUNTIME.load(exported, variant(ONNXRUNTIME, options).aimed(target))
    expected = DEFAULTS | {name: str(value) for name, value in options.items()}
    assert expected == {name: session.settings[name] for name in DEFAULTS}
    batch = texts(lstm, 0, 1)
    default = ONNXRUNTIME.load(exported, target).run(batch)["logits"]
    np.testing.assert_allclose(default, session.run(batch)["logits"], rtol=1e-5, atol=1e-6)


def test_pytorch_says_what_idle_threads_of_openmp_do(lstm, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert "passive" == PYTORCH.load(lstm, Target("cpu", 1)).settings["wait_policy"]


def test_optimisation_of_a_native_module_is_unsupported_and_says_so(exported, tmp_path):
    with pytest.raises(Unsupported, match="a native module has none"):
        ONNXRUNTIME_O2.build(exported, tmp_path, text_classification)


def test_a_head_that_optimum_does_not_export_is_unsupported_and_says_so(vit, tmp_path):
    with pytest.raises(Unsupported, match="Optimum exports no text-classification head for vit"):
        ONNXRUNTIME.build(vit, tmp_path, text_classification)


def test_a_transformers_model_goes_through_optimum(vit, tmp_path):
    settings = ONNXRUNTIME.build(vit, tmp_path, image_classification)
    assert settings["exporter"].startswith("optimum-onnx")
    own, reference = ONNXRUNTIME.load(tmp_path, Target("cpu", 1)), PYTORCH.load(vit, Target("cpu", 1))
    batch = checkpoint.example(vit)
    np.testing.assert_allclose(reference.run(batch)["logits"], own.run(batch)["logits"], atol=1e-5)


@pytest.mark.parametrize(
    ("machine", "flags", "preset"),
    [
        ("aarch64", {"asimd"}, "arm64"),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, "avx512_vnni"),
        ("x86_64", {"avx2", "avx512f"}, "avx512"),
        ("x86_64", {"avx2"}, "avx2"),
    ],
)
def test_the_preset_follows_the_cpu(machine, flags, preset):
    assert preset == int8_preset(machine, frozenset(flags))


# Generated text


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> Path:
    """A tiny BART of random weights, which writes what it likes, by two beams."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    out = tmp_path_factory.mktemp("writer")
    torch.manual_seed(0)
    sizes = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in WRITER.items()}
    model = BartForConditionalGeneration(BartConfig(vocab_size=60, d_model=32, max_position_embeddings=64, **sizes))
    model.generation_config.update(max_length=9, num_beams=2)
    model.save_pretrained(out)
    return out


WRITER = {"layers": 1, "attention_heads": 2, "ffn_dim": 64}
WRITTEN = {"input_ids": np.arange(4, 22).reshape(2, 9), "attention_mask": np.array([[1] * 9, [1] * 5 + [0] * 4])}


def test_every_form_writes_the_same_text_and_keeps_its_encoder_apart(writer, tmp_path):
    reference = PYTORCH.load(writer, Target("cpu", 1)).run(WRITTEN)["sequences"]
    assert (2, 9) == reference.shape
    source = writer
    for backend in (ONNXRUNTIME, ONNXRUNTIME_O2, ONNXRUNTIME_INT8):
        out = tmp_path / backend.name
        out.mkdir()
        said = backend.build(source if backend.source is None else tmp_path / "onnxruntime", out, translation)
        assert {"encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"} <= {
            path.name for path in out.iterdir()
        }
        session = backend.load(out, Target("cpu", 1))
        assert "cpu" == session.device
        found = session.run(WRITTEN)["sequences"]
        if backend.lossy:
            assert "MatMulInteger" in said["operators"]
        else:
            np.testing.assert_array_equal(reference, found)


def test_a_body_that_could_generate_does_not_under_a_head_of_labels(writer):
    from transformers import BartForSequenceClassification

    assert not checkpoint.generates(BartForSequenceClassification.from_pretrained(writer))
