"""Backends beside the default ones, on tiny untrained models: they answer as the reference does, and say how."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import harness
from harness import checkpoint
from harness.backends import (
    DEFAULT_BACKENDS,
    MORE_BACKENDS,
    ONNXRUNTIME,
    OPENVINO,
    OPENVINO_BF16,
    PYTORCH,
    PYTORCH_BF16,
    PYTORCH_COMPILE,
    PYTORCH_FP16,
    PYTORCH_INT8,
    openvino,
    pytorch,
    torch_compile,
    torchao,
)
from harness.contracts.backend import Session, Target
from harness.contracts.sources import Native
from harness.errors import Unsupported
from harness.kinds import text_classification, translation
from harness.measure.adapters import Preprocessing, columns_of, with_preprocessing
from harness.measure.client import Worker

SUITES = Path(__file__).parents[3] / "suites"
HERE = Path(harness.__file__).parents[1]
TEXTS = [{"text": "one two three four"}, {"text": "five six seven"}, {"text": "eight"}]
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def needs(backend, device="cpu"):
    """Skips where the backend itself says that it cannot run."""
    return pytest.mark.skipif(bool(backend.unavailable(device)), reason=str(backend.unavailable(device)))


def native(name, out):
    source, kind = Native(f"models/{name}"), text_classification
    tokenizer = kind.processor(source, None, TEXTS, ("text",))
    model = checkpoint.create(source, kind, SUITES, None, ("a", "b"), tokenizer)
    encoded = [example for (example,) in kind.encode(tokenizer, TEXTS[:2], ("text",), 16)]
    checkpoint.save(model, source, SUITES, out, tokenizer, kind.collate(tokenizer, encoded))
    return out


@pytest.fixture(scope="module")
def lstm(tmp_path_factory) -> Path:
    return native("lstm.py:LSTMClassifier", tmp_path_factory.mktemp("lstm"))


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    return native("embedding_bag.py:EmbeddingBagClassifier", tmp_path_factory.mktemp("bag"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    """A BERT of one layer, and its float export."""
    import torch
    from safetensors.numpy import save_file
    from transformers import BertConfig, BertForSequenceClassification

    out = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(vocab_size=60, num_labels=3, **SIZES)).save_pretrained(out)
    save_file(batch(2, 9), out / checkpoint.EXAMPLE)
    return out


@pytest.fixture(scope="module")
def exported(bert, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("onnx")
    ONNXRUNTIME.build(bert, out, text_classification)
    return out


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> Path:
    from transformers import BartConfig, BartForConditionalGeneration

    sizes = {f"{side}_{name}": 1 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    out = tmp_path_factory.mktemp("writer")
    model = BartForConditionalGeneration(BartConfig(vocab_size=60, d_model=16, max_position_embeddings=32, **sizes))
    model.generation_config.update(max_length=6)
    model.save_pretrained(out)
    return out


def batch(rows, length):
    dice = np.random.default_rng(rows * 100 + length)
    ids = dice.integers(4, 60, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


# torch.compile


@needs(PYTORCH_COMPILE)
def test_what_was_not_compiled_is_not_run(bert):
    with pytest.raises(RuntimeError, match="nothing is compiled yet"):
        PYTORCH_COMPILE.load(bert, Target("cpu", 1)).run(batch(1, 9))


@needs(PYTORCH_COMPILE)
def test_a_model_that_generates_is_unsupported_and_the_parent_hears_why(writer):
    with pytest.raises(Unsupported, match="BartForConditionalGeneration generates"):
        Worker(PYTORCH_COMPILE, writer, Target("cpu", 1), 300)


def test_without_a_compiler_it_says_which_one_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "neither g++ nor clang++ is there" in PYTORCH_COMPILE.unavailable("cpu")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "CXX=no-such-compiler is not there" in PYTORCH_COMPILE.unavailable("cpu")
    own = tmp_path / "no-such-compiler"
    own.touch(mode=0o755)
    assert str(own) == torch_compile.compiler()


def test_the_number_of_rows_that_stands_for_many_is_no_other_size():
    assert 2 == torch_compile.rows_unlike({"ids": np.zeros((1, 96)), "mask": np.zeros((1, 96))})
    assert 5 == torch_compile.rows_unlike({"ids": np.zeros((1, 3)), "pixels": np.zeros((1, 4))})


def test_in_the_finals_a_backend_is_prepared_for_what_it_will_be_given(lstm):
    asked = []
    session = Session(run=lambda arrays: arrays, device="cpu", settings={}, compile=asked.append)
    final = with_preprocessing(session, Preprocessing(text_classification, lstm, ("text",), 16).order())
    raw = columns_of(TEXTS[:2], ("text",))
    final.compile(raw)
    assert {"input_ids", "attention_mask"} <= set(asked[0])
    np.testing.assert_array_equal(asked[0]["input_ids"], final.run(raw)["input_ids"])


# Half the size

FORMS = pytest.mark.parametrize(
    ("backend", "form"),
    [pytest.param(PYTORCH_BF16, "bfloat16", marks=needs(PYTORCH_BF16)), (PYTORCH_FP16, "float16")],
    ids=lambda one: getattr(one, "name", one),
)


@FORMS
@pytest.mark.parametrize("name", ["bert", "lstm"])
def test_half_the_size_is_close_in_float32_arrays(backend, form, name, request, tmp_path):
    source = request.getfixturevalue(name)
    said = backend.build(source, tmp_path, text_classification)
    own, reference = backend.load(tmp_path, Target("cpu", 1)), PYTORCH.load(source, Target("cpu", 1))
    found, expected = (session.run(checkpoint.example(source))["logits"] for session in (own, reference))
    assert np.float32 == found.dtype
    np.testing.assert_allclose(expected, found, atol=0.02)
    assert 0 < np.abs(expected - found).max()
    assert ("cpu", "1", form) == (own.device, own.settings["threads"], own.settings["precision"])
    whole, half = ((folder / checkpoint.WEIGHTS).stat().st_size for folder in (source, tmp_path))
    assert 0.5 == pytest.approx(half / whole, abs=0.05)
    assert f"{form} weights and activations" == said["precision"]
    assert {str} == {type(value) for value in said.values()}  # torch's own type of version is no JSON


@FORMS
def test_a_model_that_mixes_in_float32_of_its_own_is_unsupported_in_half_the_size(backend, form, bag, tmp_path):
    with pytest.raises(Unsupported, match=rf"does not compute in {form}: .*per_sample_weights"):
        backend.build(bag, tmp_path, text_classification)


@FORMS
def test_half_the_size_takes_pictures_in_float32(backend, form, tmp_path):
    import torch
    from safetensors.numpy import save_file
    from transformers import ViTConfig, ViTForImageClassification

    source, out = tmp_path / "vit", tmp_path / form
    out.mkdir()
    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_channels=1, **SIZES)).save_pretrained(source)
    pictures = {"pixel_values": np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)}
    save_file(pictures, source / checkpoint.EXAMPLE)
    backend.build(source, out, text_classification)
    own, reference = backend.load(out, Target("cpu", 1)), PYTORCH.load(source, Target("cpu", 1))
    np.testing.assert_allclose(reference.run(pictures)["logits"], own.run(pictures)["logits"], atol=0.02)


@FORMS
def test_half_the_size_writes_text(backend, form, writer, tmp_path):
    from safetensors.numpy import save_file

    given = {name: array for name, array in batch(2, 7).items() if name != "token_type_ids"}
    save_file(given, writer / checkpoint.EXAMPLE)
    backend.build(writer, tmp_path, translation)
    session = backend.load(tmp_path, Target("cpu", 1))
    assert (form, 2) == (session.settings["precision"], len(session.run(given)["sequences"]))


@pytest.mark.parametrize(
    ("flags", "said"),
    [({"amx_bf16"}, None), ({"avx512_bf16"}, None), ({"asimd", "bf16"}, None), ({"avx512f"}, "no bfloat16 products")],
)
def test_bf16_asks_for_a_cpu_that_has_it(flags, said):
    found = pytorch.unavailable_on_cpu(frozenset(flags))
    assert found is None if said is None else said in found


@pytest.mark.parametrize(
    ("capability", "said"),
    [("9.0", None), ("8.0", None), ("7.5", "this device has 7.5"), ("", "does not tell"), ("[N/A]", "does not tell")],
)
def test_bf16_asks_for_a_gpu_that_has_it(capability, said, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{capability}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = PYTORCH_BF16.unavailable("cuda")
    assert found is None if said is None else said in found


# int8 of torchao


def test_where_torchao_is_missing_int8_says_how_to_get_it():
    try:
        version("torchao")
    except PackageNotFoundError:
        assert 'pip install -e ".[torchao]"' in PYTORCH_INT8.unavailable("cpu")
    else:
        assert PYTORCH_COMPILE.unavailable("cpu") == PYTORCH_INT8.unavailable("cpu")


def test_a_model_whose_work_is_elsewhere_is_unsupported_in_int8(lstm):
    with pytest.raises(Unsupported, match=r"torchao quantises linear layers alone: 1 linear layers, 512 of"):
        torchao.share(checkpoint.load(lstm))


# OpenVINO


@needs(OPENVINO)
def test_openvino_answers_as_its_source_does_at_every_batch_and_length(exported):
    reference, own = ONNXRUNTIME.load(exported, Target("cpu", 1)), OPENVINO.load(exported, Target("cpu", 1))
    for rows, length in ((1, 9), (1, 30), (16, 9), (2, 5), (1, 1)):
        given = batch(rows, length)
        np.testing.assert_allclose(reference.run(given)["logits"], own.run(given)["logits"], atol=1e-5)


@needs(OPENVINO)
def test_a_graph_that_openvino_cannot_read_is_unsupported_and_says_which_nodes(bag, tmp_path):
    ONNXRUNTIME.build(bag, tmp_path, text_classification)
    with pytest.raises(Unsupported, match="cannot read these nodes of the export: ReduceSum-"):
        OPENVINO.load(tmp_path, Target("cpu", 1))


@needs(OPENVINO)
def test_openvino_reads_what_torch_itself_exports_of_an_lstm(lstm, tmp_path):
    ONNXRUNTIME.build(lstm, tmp_path, text_classification)
    own, reference = OPENVINO.load(tmp_path, Target("cpu", 1)), PYTORCH.load(lstm, Target("cpu", 1))
    given = checkpoint.example(lstm)
    np.testing.assert_allclose(reference.run(given)["logits"], own.run(given)["logits"], atol=1e-5)


@needs(OPENVINO)
def test_openvino_computes_in_float32_in_one_stream_of_the_threads_asked_for(exported):
    session = OPENVINO.load(exported, Target("cpu", 1))
    told = {**openvino.ASKED, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "False"}
    assert {"cpu", "1"} == {session.device, session.settings["threads"]}
    assert {name.lower(): value for name, value in told.items()}.items() <= session.settings.items()


@needs(OPENVINO_BF16)
def test_openvino_in_bfloat16_says_so_and_answers_nearly_the_same(exported):
    own, reference = OPENVINO_BF16.load(exported, Target("cpu", 1)), OPENVINO.load(exported, Target("cpu", 1))
    assert "bf16" == own.settings["inference_precision_hint"]
    given = batch(2, 9)
    expected, found = (session.run(given)["logits"] for session in (reference, own))
    assert (expected != found).any()  # else it computes in float32 after all
    np.testing.assert_allclose(expected, found, atol=0.05)


@needs(OPENVINO)
def test_answers_of_openvino_outlive_the_next_call(exported):
    session = OPENVINO.load(exported, Target("cpu", 1))
    first = session.run(batch(1, 9))["logits"]
    kept = first.copy()
    session.run(batch(2, 9))
    np.testing.assert_array_equal(kept, first)


@needs(OPENVINO)
def test_a_worker_of_openvino_imports_no_torch(exported):
    with Worker(OPENVINO, exported, Target("cpu", 1), 60) as worker:
        worker.put(batch(1, 9))
        assert (1, 3) == worker.run().outputs["logits"].shape
        assert "" == worker.loaded["settings"]["imported"]


@needs(OPENVINO)
def test_text_is_not_generated_by_openvino_itself(tmp_path):
    (tmp_path / "encoder_model.onnx").touch()
    with pytest.raises(Unsupported, match="no loop that generates"):
        Worker(OPENVINO, tmp_path, Target("cpu", 1), 60)


@pytest.mark.skipif(find_spec("openvino") is not None, reason="openvino is installed")
def test_where_openvino_is_missing_it_says_how_to_get_it():
    assert 'pip install -e ".[cpu,openvino]"' in OPENVINO.unavailable("cpu")


# All of them

TORCH = ("pytorch", "torch_compile", "torch_half", "torch_int8")
OF_TORCH = [
    pytest.param(one, marks=needs(one) if one.unavailable and "cpu" in one.devices else (), id=one.name)
    for one in (*DEFAULT_BACKENDS, *MORE_BACKENDS)
    if one.load.__module__ in [f"harness.backends.{name}" for name in TORCH]
]


def test_every_module_of_torch_has_a_backend_here():
    modules = {path.stem for path in (HERE / "harness" / "backends").glob("*torch*.py")}
    assert set(TORCH) == modules == {param.values[0].load.__module__.rpartition(".")[2] for param in OF_TORCH}


@pytest.mark.parametrize("backend", OF_TORCH)
def test_every_backend_of_torch_is_given_the_same_threads_and_no_tf32(backend, bert, tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    torch.set_num_threads(2)
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    source = bert
    if backend.build:
        backend.build(bert, tmp_path, text_classification)
        source = tmp_path
    found = backend.load(source, Target("cpu", 1)).settings
    expected = {"torch": torch.__version__, "threads": "1", "wait_policy": "passive", "tf32": "0", "cudnn": "heuristic"}
    assert expected.items() <= found.items()
    assert ("ieee", 1) == (torch.backends.cudnn.conv.fp32_precision, torch.get_num_threads())


def test_what_keeps_a_backend_away_is_said_without_importing_a_runtime():
    asked = (
        "import sys; from harness import backends as b; "
        "[one.unavailable('cpu') for one in (b.PYTORCH_COMPILE, b.PYTORCH_BF16, b.PYTORCH_INT8, b.OPENVINO)]; "
        "print(sorted({'torch', 'torchao', 'openvino', 'onnxruntime'} & set(sys.modules)))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE)}
    said = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert "[]" == said.stdout.strip()


def test_the_readme_names_every_backend_with_its_value():
    known = {value.name: name for name, value in vars(harness).items() if isinstance(value, harness.Backend)}
    rows = dict(re.findall(r"^\| `([\w-]+)` \| `([A-Z0-9_]+)` \|", (HERE / "README.md").read_text(), re.MULTILINE))
    assert known == rows
