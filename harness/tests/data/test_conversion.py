"""Models in GGUF and in CTranslate2's form are converted once, and refused in words where that cannot be."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoTokenizer, WhisperConfig, WhisperForConditionalGeneration

from harness.contracts.sources import Package
from harness.data import conversion, ctranslate2, sources
from harness.errors import HarnessError

WORDS = ["<|endoftext|>", "<|startoftranscript|>", "<|startofprev|>", "<|notimestamps|>", "a", "b"]


@pytest.fixture(autouse=True)
def _assets(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))


def test_file_is_converted_once(monkeypatch, tmp_path):
    made: list[Path] = []

    def save(file: Path, out: Path) -> None:
        made.append(file)
        out.mkdir()
        (out / "config.json").write_text("{}")

    monkeypatch.setattr(conversion, "FORMS", [conversion.FORMS[0]._replace(save=save, needs=None)])
    monkeypatch.setattr(sources, "locate", lambda _: tmp_path / "tiny.gguf")
    source = Package("tiny", "tiny.gguf", sha256="00")
    folders = [sources.pretrained(source, tmp_path) for _ in range(2)]
    assert [tmp_path / "tiny.gguf"] == made
    assert folders[0] == folders[1]
    assert ["config.json"] == [file.name for file in folders[0].iterdir()]


def test_missing_reader_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(conversion, "missing_module", lambda name, _: f"{name} is not installed")
    with pytest.raises(HarnessError, match=r"tiny.gguf is in GGUF: gguf is not installed"):
        conversion.convert(tmp_path / "tiny.gguf", "00")


def test_file_of_another_format_is_refused(tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "tiny.gguf").write_bytes(b"no such format" * 9)
    with pytest.raises(HarnessError, match="Transformers reads no model from it"):
        conversion.convert(tmp_path / "tiny.gguf", "00")


def test_folder_of_transformers_is_left_as_it_is(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.bin").touch()
    assert tmp_path == conversion.convert(tmp_path, "00")


# CTranslate2


def whisper():
    torch.manual_seed(0)
    sizes = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = WhisperConfig(
        **sizes, vocab_size=len(WORDS), num_mel_bins=4, d_model=8, encoder_ffn_dim=12, decoder_ffn_dim=12,
        max_source_positions=10, max_target_positions=6, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    return WhisperForConditionalGeneration(config).eval()


def text(value):
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def layer_parts(state, prefix, name):
    """Yield a layer's weights as CTranslate2 stores them: the products of one input below each other."""

    def stacked(*parts):
        weights = [state[f"{prefix}.{part}.weight"] for part in parts]
        biases = [state.get(f"{prefix}.{part}.bias", torch.zeros(len(weights[0]))) for part in parts]
        return torch.cat(weights), torch.cat(biases)

    attentions = {"self_attention": "self_attn"}
    if "decoder" in prefix:
        attentions["attention"] = "encoder_attn"
    for own, theirs in attentions.items():
        products = [f"{theirs}.{part}_proj" for part in "qkv"]
        groups = [products[:1], products[1:]] if own == "attention" else [products]
        for number, group in enumerate([*groups, [f"{theirs}.out_proj"]]):
            yield from zip(
                (f"{name}/{own}/linear_{number}/{kind}" for kind in ("weight", "bias")), stacked(*group), strict=True
            )
        yield f"{name}/{own}/layer_norm/gamma", state[f"{prefix}.{theirs}_layer_norm.weight"]
        yield f"{name}/{own}/layer_norm/beta", state[f"{prefix}.{theirs}_layer_norm.bias"]
    for number in (0, 1):
        yield f"{name}/ffn/linear_{number}/weight", state[f"{prefix}.fc{number + 1}.weight"]
        yield f"{name}/ffn/linear_{number}/bias", state[f"{prefix}.fc{number + 1}.bias"]
    yield f"{name}/ffn/layer_norm/gamma", state[f"{prefix}.final_layer_norm.weight"]
    yield f"{name}/ffn/layer_norm/beta", state[f"{prefix}.final_layer_norm.bias"]


def stored(model):
    state, arrays = model.state_dict(), {}
    for side in ("encoder", "decoder"):
        arrays[f"{side}/num_heads"] = np.int16(2)
        arrays[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"]
        arrays[f"{side}/layer_norm/gamma"] = state[f"model.{side}.layer_norm.weight"]
        arrays[f"{side}/layer_norm/beta"] = state[f"model.{side}.layer_norm.bias"]
        for layer in (0, 1):
            arrays |= layer_parts(state, f"model.{side}.layers.{layer}", f"{side}/layer_{layer}")
    for name in ("conv1/weight", "conv1/bias", "conv2/weight", "conv2/bias"):
        arrays[f"encoder/{name}"] = state[f"model.encoder.{name.replace('/', '.')}"]
    arrays["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    return arrays


def save(folder, arrays, name="WhisperSpec", version=6):
    folder.mkdir()
    content = struct.pack("<I", version) + text(name) + struct.pack("<II", 3, len(arrays))
    for key, value in arrays.items():
        array = np.asarray(value)
        kind = {"float32": 0, "int8": 1, "int16": 2}[array.dtype.name]
        content += text(key) + struct.pack(f"<B{array.ndim}IBI", array.ndim, *array.shape, kind, array.nbytes)
        content += array.tobytes()
    (folder / "model.bin").write_bytes(content + struct.pack("<I", 0))
    settings = {"suppress_ids": [5], "suppress_ids_begin": [4], "alignment_heads": [[0, 0]]}
    (folder / "config.json").write_text(json.dumps(settings))
    special = [
        dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        | {"id": at, "content": word, "special": True}
        for at, word in enumerate(WORDS[:4])
    ]
    vocabulary = {"type": "BPE", "vocab": {word: at for at, word in enumerate(WORDS)}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": special, "model": vocabulary}))
    return folder


def test_whisper_answers_as_it_did_before(tmp_path):
    model = whisper()
    folder = conversion.convert(save(tmp_path / "own", stored(model)), "00")
    again = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    given = {"input_features": torch.randn(2, 4, 20), "decoder_input_ids": torch.tensor([[1, 4], [1, 5]])}
    with torch.inference_mode():
        torch.testing.assert_close(model(**given).logits, again(**given).logits)
    settings = again.generation_config
    assert [5] == settings.suppress_tokens
    assert (0, 1) == (settings.eos_token_id, settings.decoder_start_token_id)
    assert 4 == AutoFeatureExtractor.from_pretrained(folder).feature_size
    assert 0 == AutoTokenizer.from_pretrained(folder).pad_token_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "TransformerSpec"}, "it holds TransformerSpec, version 6; expected"),
        ({"version": 3}, "it holds another file, version 3"),
    ],
)
def test_other_models_in_that_form_are_refused(tmp_path, change, message):
    with pytest.raises(HarnessError, match=message):
        conversion.convert(save(tmp_path / "own", stored(whisper()), **change), "00")


def test_quantized_weights_are_refused(tmp_path):
    arrays = stored(whisper()) | {"decoder/embeddings/weight_scale": np.ones(6, np.float32)}
    with pytest.raises(HarnessError, match="its weights are quantized; the reference needs them in float"):
        ctranslate2.read(save(tmp_path / "own", arrays) / "model.bin")
