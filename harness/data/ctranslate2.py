"""Whisper models in CTranslate2's form: a config.json of generation settings, model.bin, and tokenizer.json."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from harness import checkpoint
from harness.errors import HarnessError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = "model.bin"
SPECIFICATION = ("WhisperSpec", 6)
"""Name of the model, and version of the file."""
ENGLISH = 51_864
"""Tokens of a Whisper of English alone; the others have more."""
TYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
"""numpy's types by their numbers in the file."""

PARTS = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
    "ffn/layer_norm": ("final_layer_norm",),
    "position_encodings": ("embed_positions",),
    "embeddings": ("embed_tokens",),
}
"""Part of the model → those that Transformers has in its place, whose weights lie one below the other."""
NUMBERED = re.compile(r"layer_\d+")
KINDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}


def is_one(path: Path) -> bool:
    """Return whether the path is a folder with such a model, whose config.json names no architecture."""
    config = path / "config.json"
    return (path / WEIGHTS).is_file() and config.is_file() and "model_type" not in checkpoint.read_json(config)


def save(folder: Path, out: Path) -> None:
    """Write the model in `folder` to the folder `out`, in float32, with its tokenizer and feature extractor."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

    values, end = read(folder / WEIGHTS), "<|endoftext|>"
    tokenizer = WhisperTokenizer(tokenizer_file=str(folder / "tokenizer.json"), pad_token=end)
    state = {name: torch.from_numpy(array) for name, array in _renamed(values)}
    model = WhisperForConditionalGeneration(WhisperConfig(**_sizes(values), **_tokens(tokenizer)))
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    model.load_state_dict(state)
    model.generation_config.update(**_settings(checkpoint.read_json(folder / "config.json"), tokenizer))
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    for part in (model, tokenizer, extractor):
        part.save_pretrained(out)


def read(file: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model.bin by name; HarnessError if it holds none of a Whisper in floating numbers."""
    with file.open("rb") as stream:
        version = _number(stream, "I")
        name = _text(stream) if version == SPECIFICATION[1] else "another file"
        if (name, version) != SPECIFICATION:
            raise HarnessError(f"{file}: it holds {name}, version {version}; expected {SPECIFICATION}")
        _number(stream, "I")  # revision of the specification
        values = dict(_array(stream) for _ in range(_number(stream, "I")))
    if len(values["decoder/embeddings/weight"]) > ENGLISH:
        raise HarnessError(f"{file}: it is a Whisper of many languages; only those of English alone are read")
    if any(name.endswith("_scale") for name in values):
        raise HarnessError(f"{file}: its weights are quantized; the reference needs them in float")
    return values


def _number(stream: BinaryIO, code: str) -> int:
    return int(struct.unpack(f"<{code}", stream.read(struct.calcsize(code)))[0])


def _text(stream: BinaryIO) -> str:
    return stream.read(_number(stream, "H")).rstrip(b"\0").decode()


def _array(stream: BinaryIO) -> tuple[str, NDArray[Any]]:
    name = _text(stream)
    shape = [_number(stream, "I") for _ in range(_number(stream, "B"))]
    kind, size = TYPES[_number(stream, "B")], _number(stream, "I")
    return name, np.frombuffer(stream.read(size), kind).reshape(shape)


def _renamed(values: dict[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield each weight under Transformers' name."""
    for name, value in values.items():
        side, *places, kind = name.split("/")
        if kind not in KINDS:
            continue
        layer = f"layers.{places.pop(0).removeprefix('layer_')}." if NUMBERED.fullmatch(places[0]) else ""
        parts = PARTS.get("/".join(places), places)
        for part, array in zip(parts, np.split(value.astype(np.float32), len(parts)), strict=True):
            if not (part.endswith("k_proj") and KINDS[kind] == "bias"):  # which is zero, and Transformers has none
                yield f"model.{side}.{layer}{part}.{KINDS[kind]}", array


def _sizes(values: dict[str, NDArray[Any]]) -> dict[str, int]:
    """Return the sizes in a Whisper's configuration."""
    sizes = {
        "vocab_size": len(values["decoder/embeddings/weight"]),
        "num_mel_bins": values["encoder/conv1/weight"].shape[1],
        "d_model": values["encoder/conv1/weight"].shape[0],
        "max_source_positions": len(values["encoder/position_encodings/encodings"]),
        "max_target_positions": len(values["decoder/position_encodings/encodings"]),
    }
    for side in ("encoder", "decoder"):
        layers = {place for name in values for place in name.split("/")[1:2] if name.startswith(f"{side}/")}
        sizes[f"{side}_layers"] = len([*filter(NUMBERED.fullmatch, layers)])
        sizes[f"{side}_attention_heads"] = int(values[f"{side}/num_heads"])
        sizes[f"{side}_ffn_dim"] = len(values[f"{side}/layer_0/ffn/linear_0/bias"])
    return sizes


def _tokens(tokenizer: Any) -> dict[str, int]:
    end, start = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|startoftranscript|>"])
    return {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}


def _settings(declared: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """Return the generation settings of a Whisper that transcribes without times."""
    silent = tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    return {
        **_tokens(tokenizer),
        "suppress_tokens": declared["suppress_ids"],
        "begin_suppress_tokens": declared["suppress_ids_begin"],
        "alignment_heads": declared["alignment_heads"],
        "is_multilingual": False,
        "forced_decoder_ids": [[1, silent]],
        "no_timestamps_token_id": silent,
        "prev_sot_token_id": tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        "max_initial_timestamp_index": 50,
        "return_timestamps": False,
        "max_length": 448,
    }
