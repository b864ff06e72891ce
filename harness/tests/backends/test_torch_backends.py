"""PyTorch's compiled, half-precision and int8 backends: they answer as the reference does, and say how."""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from tiny_models import SIZES, TEXTS, save_bart, save_bert, save_native, token_batch

from conftest import REPOSITORY
from harness import backends, checkpoint
from harness.backends import (
    DEFAULT_BACKENDS,
    MORE_BACKENDS,
    PYTORCH,
    PYTORCH_BF16,
    PYTORCH_COMPILE,
    PYTORCH_FP16,
    PYTORCH_INT8,
    pytorch,
    torch_compile,
)
from harness.contracts.backend import Backend, Session, Target
from harness.errors import Unsupported
from harness.kinds import text_classification, translation
from harness.measure.adapters import Preprocessing, columns_from_rows, with_preprocessing
from harness.measure.client import Worker, worker_environment

CPU = Target("cpu", 1)


def needs(backend, device="cpu"):
    """Skip where the backend itself says that it cannot run."""
    return pytest.mark.skipif(bool(backend.unavailable(device)), reason=str(backend.unavailable(device)))


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    return save_native(tmp_path_factory.mktemp("lstm"))


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return save_native(tmp_path_factory.mktemp("bag"), "embedding_bag.py:EmbeddingBagClassifier")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"), token_batch(2, 9))


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    return save_bart(tmp_path_factory.mktemp("writer"), max_length=6)


# torch.compile


@needs(PYTORCH_COMPILE)
def test_running_before_compiling_is_refused(bert):
    with pytest.raises(RuntimeError, match="nothing is compiled yet"):
        PYTORCH_COMPILE.load(bert, CPU).run(token_batch(1, 9))


@needs(PYTORCH_COMPILE)
def test_generating_model_is_unsupported_by_compile(writer):
    with pytest.raises(Unsupported, match="BartForConditionalGeneration generates"):
        Worker(PYTORCH_COMPILE, writer, CPU, 300)


def test_missing_compiler_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "neither g++ nor clang++ is installed" in PYTORCH_COMPILE.unavailable("cpu")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "CXX=no-such-compiler does not exist" in PYTORCH_COMPILE.unavailable("cpu")
    compiler = tmp_path / "no-such-compiler"
    compiler.touch(mode=0o755)
    assert str(compiler) == torch_compile.compiler()


def test_number_of_rows_differs_from_every_other_size():
    assert 2 == torch_compile.distinct_rows({"ids": np.zeros((1, 96)), "mask": np.zeros((1, 96))})
    assert 5 == torch_compile.distinct_rows({"ids": np.zeros((1, 3)), "pixels": np.zeros((1, 4))})
    assert 7 == torch_compile.distinct_rows({"pixels": np.zeros((1, 4)), "texts": np.zeros((6, 2))})


@pytest.mark.parametrize("batch", [1, 4])
def test_graphs_are_made_for_the_texts_that_all_pictures_share(monkeypatch, batch):
    shapes = []
    monkeypatch.setattr(torch_compile, "_empty_cache", nullcontext)
    torch_compile._compile(
        lambda arrays: shapes.append([array.shape for array in arrays.values()]),
        {"pixels": np.zeros((batch, 4, 4)), "texts": np.zeros((3, 2))},
    )
    assert [[(rows, 4, 4), (3, 2)] for rows in (1, 5, 1, 6)] == shapes


def test_finals_compile_for_preprocessed_rows(lstm):
    batches = []
    session = Session(run=lambda arrays: arrays, device="cpu", settings={}, compile=batches.append)
    final = with_preprocessing(session, Preprocessing(text_classification, lstm, ("text",), 16).to_json())
    raw = columns_from_rows(TEXTS[:2], ("text",))
    final.compile(raw)
    assert {"input_ids", "attention_mask"} <= set(batches[0])
    np.testing.assert_array_equal(batches[0]["input_ids"], final.run(raw)["input_ids"])


# bfloat16 and float16

HALVES = pytest.mark.parametrize(
    ("backend", "dtype"),
    [pytest.param(PYTORCH_BF16, "bfloat16", marks=needs(PYTORCH_BF16)), (PYTORCH_FP16, "float16")],
    ids=lambda value: getattr(value, "name", value),
)


@HALVES
@pytest.mark.parametrize("name", ["bert", "lstm"])
def test_half_precision_is_close_and_returns_float32(backend, dtype, name, request, tmp_path):
    source = request.getfixturevalue(name)
    settings = backend.build(source, tmp_path, text_classification)
    own, reference = backend.load(tmp_path, CPU), PYTORCH.load(source, CPU)
    logits, expected = (session.run(checkpoint.example(source))["logits"] for session in (own, reference))
    assert np.float32 == logits.dtype
    np.testing.assert_allclose(expected, logits, atol=0.02)
    assert 0 < np.abs(expected - logits).max()
    assert ("cpu", "1", dtype) == (own.device, own.settings["threads"], own.settings["precision"])
    whole, half = ((folder / checkpoint.WEIGHTS).stat().st_size for folder in (source, tmp_path))
    assert 0.5 == pytest.approx(half / whole, abs=0.05)
    assert {str} == {type(value) for value in settings.values()}  # torch's version type is no JSON


@HALVES
def test_model_with_float32_of_its_own_is_unsupported_in_half(backend, dtype, bag, tmp_path):
    with pytest.raises(Unsupported, match=rf"does not compute in {dtype}: .*per_sample_weights"):
        backend.build(bag, tmp_path, text_classification)


@HALVES
def test_half_precision_takes_pictures_in_float32(backend, dtype, tmp_path):
    import torch
    from safetensors.numpy import save_file
    from transformers import ViTConfig, ViTForImageClassification

    source, out = tmp_path / "vit", tmp_path / dtype
    out.mkdir()
    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_channels=1, **SIZES)).save_pretrained(source)
    pictures = {"pixel_values": np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)}
    save_file(pictures, source / checkpoint.EXAMPLE)
    backend.build(source, out, text_classification)
    own, reference = backend.load(out, CPU), PYTORCH.load(source, CPU)
    np.testing.assert_allclose(reference.run(pictures)["logits"], own.run(pictures)["logits"], atol=0.02)


@HALVES
def test_half_precision_generates_text(backend, dtype, writer, tmp_path):
    from safetensors.numpy import save_file

    inputs = {name: array for name, array in token_batch(2, 7).items() if name != "token_type_ids"}
    save_file(inputs, writer / checkpoint.EXAMPLE)
    backend.build(writer, tmp_path, translation)
    session = backend.load(tmp_path, CPU)
    assert (dtype, 2) == (session.settings["precision"], len(session.run(inputs)["sequences"]))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [({"amx_bf16"}, None), ({"avx512_bf16"}, None), ({"asimd", "bf16"}, None), ({"avx512f"}, "no bfloat16 products")],
)
def test_bf16_needs_a_cpu_with_bfloat16(flags, reason, monkeypatch):
    monkeypatch.setattr(pytorch, "cpu_flags", lambda: frozenset(flags))
    message = pytorch.cpu_lacks_bfloat16()
    assert message is None if reason is None else reason in message


@pytest.mark.parametrize(
    ("capability", "reason"),
    [("9.0", None), ("8.0", None), ("7.5", "has 7.5"), ("", "reports no"), ("[N/A]", "reports no")],
)
def test_bf16_needs_a_gpu_with_bfloat16(capability, reason, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{capability}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    message = PYTORCH_BF16.unavailable("cuda")
    assert message is None if reason is None else reason in message


def test_model_with_few_linear_weights_is_unsupported_in_int8(lstm):
    with pytest.raises(Unsupported, match=r"torchao quantises only linear layers: 1 linear layers, 512 of"):
        torch_compile.int8_layers(checkpoint.load(lstm))


# All backends

MODULES = ("harness.backends.pytorch", "harness.backends.torch_compile")
TORCH = [
    pytest.param(backend, marks=needs(backend) if backend.unavailable else (), id=backend.name)
    for backend in (*DEFAULT_BACKENDS, *MORE_BACKENDS)
    if backend.load.__module__ in MODULES
]


@pytest.mark.parametrize("backend", TORCH)
def test_torch_backends_share_threads_and_use_no_tf32(backend, bert, tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    torch.set_num_threads(2)
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    if backend.build:
        backend.build(bert, tmp_path, text_classification)
    settings = backend.load(tmp_path if backend.build else bert, CPU).settings
    expected = {"torch": torch.__version__, "threads": "1", "wait_policy": "passive", "tf32": "0", "cudnn": "heuristic"}
    assert expected.items() <= settings.items()
    assert ("ieee", 1) == (torch.backends.cudnn.conv.fp32_precision, torch.get_num_threads())


def test_availability_is_checked_without_importing_a_runtime():
    program = (
        "import sys; from harness import backends as b; "
        "[backend.unavailable('cpu') for backend in (*b.DEFAULT_BACKENDS, *b.MORE_BACKENDS) if backend.unavailable]; "
        "print(sorted({'torch', 'torchao', 'openvino', 'nncf', 'onnxruntime'} & set(sys.modules)))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()


def test_missing_extras_name_their_installation(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert 'pip install -e ".[torchao]"' in PYTORCH_INT8.unavailable("cpu")
    assert 'pip install -e ".[cpu,openvino]"' in backends.OPENVINO.unavailable("cpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "nncf" else name)
    reason = 'nncf is not installed; run: python -m pip install -e ".[cpu,openvino]"'
    assert (None, reason) == (backends.OPENVINO.unavailable("cpu"), backends.OPENVINO_INT8.unavailable("cpu"))


def test_readme_lists_every_backend_with_its_value():
    values = {value.name: name for name, value in vars(backends).items() if isinstance(value, Backend)}
    readme = (Path(backends.__file__).parent / "README.md").read_text()
    assert values == dict(re.findall(r"^\| `([\w-]+)` \| `([A-Z0-9_]+)` \|", readme, re.MULTILINE))


@pytest.mark.parametrize("name", ["sklearn", "scipy"])
def test_pytorch_worker_starts_without_what_it_does_not_use(tmp_path, name):
    code = (
        "import sys; from pathlib import Path; from harness import checkpoint; checkpoint.load(Path(sys.argv[1])); "
        f"print('{name}' in sys.modules, sys.modules.get('{name}', 'importable'))"
    )
    row = {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.array([[1, 1, 1]])}
    save_bert(tmp_path, row)
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=worker_environment(1))
    assert "False importable" == done.stdout.strip()


def test_generation_gives_one_text_a_row_whatever_its_config_asks_for(tmp_path):
    settings = {"num_beams": 3, "num_return_sequences": 3, "do_sample": True, "return_dict_in_generate": True}
    session = PYTORCH.load(save_bart(tmp_path, output_scores=True, **settings), CPU)
    batch = {name: values for name, values in token_batch(2, 5).items() if name != "token_type_ids"}
    outputs = session.run(batch)
    assert ["sequences"] == list(outputs)
    assert 2 == len(outputs["sequences"])
    assert outputs["sequences"].tolist() == session.run(batch)["sequences"].tolist()
    assert outputs["sequences"].tolist() == session.run(token_batch(2, 5))["sequences"].tolist()
