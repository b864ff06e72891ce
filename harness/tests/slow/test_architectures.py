"""Which exporter takes which architecture: the table of harness/backends/README.md, from tiny models.

`python harness/tests/slow/test_architectures.py` prints it anew.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
sys.path += [str(HERE.parent), str(HERE.parent / "backends")]

from tiny_models import build, resolve  # noqa: E402

from harness import checkpoint  # noqa: E402
from harness.backends import (  # noqa: E402
    ONNXRUNTIME,
    ONNXRUNTIME_O2,
    ONNXRUNTIME_TRANSFORMERS,
    ONNXRUNTIME_TRANSFORMERS_FUSED,
    PYTORCH,
)
from harness.contracts.backend import Target  # noqa: E402
from harness.errors import Unsupported  # noqa: E402
from harness.kinds import image_classification, text_classification, translation  # noqa: E402
from harness.measure.client import Worker  # noqa: E402

BACKENDS = (ONNXRUNTIME, ONNXRUNTIME_O2, ONNXRUNTIME_TRANSFORMERS, ONNXRUNTIME_TRANSFORMERS_FUSED)
CPU = Target("cpu", 1)
README = HERE.parents[1] / "backends/README.md"

ENCODER = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
           "intermediate_size": 48, "max_position_embeddings": 64, "num_labels": 3, "pad_token_id": 1}  # fmt: skip
IMAGE = {"image_size": 32, "num_labels": 3}
SIDES = {f"{side}_{name}": size for side in ("encoder", "decoder")
         for name, size in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 48))}  # fmt: skip
WRITER = {"vocab_size": 99, "d_model": 32, "max_position_embeddings": 64, "pad_token_id": 1, "eos_token_id": 2,
          "decoder_start_token_id": 1, "forced_eos_token_id": 2, **SIDES}  # fmt: skip
ROTARY = {"rope_theta": 500.0, "rope_type": "default"}
LAYERS = {"full_attention": ROTARY | {"rope_theta": 700.0}, "sliding_attention": ROTARY}
ARCHITECTURES = {
    "Bert": ENCODER,
    "DistilBert": {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "num_labels": 3},
    "Roberta": ENCODER,
    "XLMRoberta": ENCODER,
    "DebertaV2": ENCODER | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "Albert": ENCODER | {"embedding_size": 16},
    "Electra": ENCODER | {"embedding_size": 16},
    "MPNet": ENCODER,
    "ModernBert": ENCODER | {"rope_parameters": LAYERS, "cls_token_id": 3, "sep_token_id": 4, "bos_token_id": 3,
                             "eos_token_id": 4, "local_attention": 8, "global_attn_every_n_layers": 2},
    "Llama": ENCODER | {"rope_parameters": ROTARY},
    "Ernie": ENCODER,
    "EuroBert": ENCODER | {"num_key_value_heads": 2, "rope_parameters": ROTARY},
    "NomicBert": ENCODER,
    "ViT": IMAGE | {"patch_size": 8, **{name: ENCODER[name] for name in list(ENCODER)[1:5]}},
    "Swin": IMAGE | {"patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    "ConvNext": IMAGE | {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "T5": {"vocab_size": 99, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2,
           "decoder_start_token_id": 0},
    "Bart": WRITER,
    "Marian": WRITER,
}  # fmt: skip
"""Name of a model's classes → the settings of a tiny one."""


def save(name: str, folder: Path) -> tuple[Path, object]:
    """Save a tiny model with random weights that spread its answers; return its folder and kind."""
    import torch
    import transformers

    torch.manual_seed(0)
    settings = ARCHITECTURES[name]
    kind, head = text_classification, "ForSequenceClassification"
    if settings.items() >= IMAGE.items():
        kind, head = image_classification, "ForImageClassification"
    elif settings is WRITER or name == "T5":
        kind, head = (
            translation,
            {"T5": "ForConditionalGeneration", "Bart": "ForConditionalGeneration"}.get(name, "MTModel"),
        )
    model = getattr(transformers, name + head)(getattr(transformers, f"{name}Config")(**settings)).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.normal_(0, 0.15)
    if kind is translation:
        model.generation_config.update(max_length=12, num_beams=2)
    model.save_pretrained(folder)
    save_file(batch(kind, 2, 11), folder / checkpoint.EXAMPLE)
    return folder, kind


def batch(kind: object, rows: int, length: int) -> dict[str, np.ndarray]:
    """Return random inputs; the last row of several is padded."""
    rng = np.random.default_rng(rows * 100 + length)
    if kind is image_classification:
        return {"pixel_values": rng.normal(size=(rows, 3, 32, 32)).astype(np.float32)}
    ids, mask = rng.integers(5, 99, (rows, length)), np.ones((rows, length), dtype=np.int64)
    if rows > 1:
        ids[-1, length // 2 :], mask[-1, length // 2 :] = 1, 0
    return {"input_ids": ids, "attention_mask": mask}


def outcome(backend, source: Path, kind, checkpointed: Path, out: Path) -> str:
    """Return the largest difference from PyTorch, after the exporter if it is not the first; else the reason."""
    try:
        settings = build(backend, source, out, kind)
    except Unsupported as error:
        return f"unsupported: {error}"
    python = resolve(backend.generates_in) if kind is translation else None
    reference, distance = PYTORCH.load(checkpointed, CPU), 0.0
    with Worker(replace(backend, runs_in=python), out, CPU, 120) as worker:
        for rows, length in ((1, 11), (3, 17), (2, 4)):
            worker.put(inputs := batch(kind, rows, length))
            own, expected = worker.run().outputs, reference.run(inputs)
            for name in own.keys() & expected.keys():
                tolerance = kind.tolerance.of(expected[name])
                distance = max(distance, *map(tolerance.distance, own[name], expected[name]))
    return f"{'Transformers, ' if 'not_built_by' in settings else ''}{distance:.0e}"


def row(name: str, folder: Path) -> list[str]:
    """Return what each backend makes of an architecture."""
    (source := folder / "checkpoint").mkdir()
    save_folder, kind = save(name, source)
    folders, cells = {None: save_folder}, []
    for backend in BACKENDS:
        built_from = folders.get(backend.source and backend.source.name)
        if built_from is None:
            cells.append("no source")
            continue
        out = folder / backend.name
        cells.append(outcome(backend, built_from, kind, save_folder, out))
        if not cells[-1].startswith("unsupported"):
            folders[backend.name] = out
    return cells


if __name__ == "__main__":
    for each in sys.argv[1:] or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as scratch:
            sys.stdout.write(f"| {each} | {' | '.join(row(each, Path(scratch)))} |\n")
            sys.stdout.flush()
