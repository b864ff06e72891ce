"""Checks of a pretrained model's weights, processor and answers, and of the rows as it reads them; notes on these."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from harness.contracts.kind import EncodedRows
from harness.data import audio, images
from harness.errors import brief_error
from harness.kinds.feature_extraction import SETTINGS, settings_of
from harness.training import lora, untrained
from harness.training.pretrained import Check, Fit
from harness.training.scan import offset_of, vocabulary_size
from harness.training.train import label_order

HALF = ("F16", "BF16", "F64", "F8_E4M3", "F8_E5M2")
"""Number formats, as safetensors names them, that are converted to the reference's."""


def _misfits(fit: Fit) -> Iterator[str]:
    """Check that no weight would be drawn at random, that none is left over, and that all are numbers."""
    model, loaded = fit.loaded
    problems = untrained.misfits(fit.task.kind, fit.pretrained, model, loaded, as_is=fit.model.is_used_as_is)
    yield from problems
    if fit.model.is_used_as_is and fit.task.kind.has_head_of_labels and not problems:
        label_order(fit.model, fit.pretrained, fit.split.labels)
    if broken := [name for name, weight in model.named_parameters() if not weight.isfinite().all()]:
        yield f"{fit.pretrained}: {broken[0]} holds NaN or infinity, as do {len(broken)} weights; train it again"


def _targets(fit: Fit) -> Iterator[str]:
    """Check that the model has the layers to which an adapter is to be added."""
    if fit.model.recipe.lora is not None:
        yield from lora.misfits(fit.loaded[0], fit.model.recipe.lora)


def _padding(fit: Fit) -> Iterator[str]:
    """Check the token that fills batches up, which no row holds."""
    model, pad = fit.loaded[0], getattr(fit.processor, "pad_token_id", None)
    rows, own = vocabulary_size(model), getattr(model.config, "pad_token_id", None)
    if pad is None:
        return
    if rows and pad >= rows:
        yield (
            f"{fit.pretrained}: the tokenizer pads with token {pad}, and the model has embeddings for 0 to {rows - 1}; "
            "pad with one of its own tokens, or save it after model.resize_token_embeddings(len(tokenizer))"
        )
    name = type(model).__name__
    reads_pad = name.endswith("ForCTC") or (name.endswith("ForSequenceClassification") and hasattr(model, "score"))
    if pad != own and (reads_pad or model.config.is_encoder_decoder or offset_of(model)):
        yield (
            f"{fit.pretrained}: the tokenizer pads with token {pad} and config.json has pad_token_id={own}, by which "
            f"the model tells padding from text; set it to {pad}, or save the tokenizer that it was trained with"
        )


def _rows(fit: Fit) -> Iterator[str]:
    if (scan := fit.scan) is None:
        rows = [fit.split.test[0]]
        examples = fit.task.kind.encode(fit.processor, rows, fit.task.inputs, fit.model.max_length)
        if not fit.model.is_used_as_is:
            fit.task.kind.targets(EncodedRows(fit.processor, rows, fit.task.inputs, examples))
        if fit.task.kind.media == "image":
            images.check_fit(f"model {fit.model.name}", fit.processor, fit.split, fit.task.inputs[0])
        elif fit.task.kind.media == "audio":
            audio.check_fit(f"model {fit.model.name}", fit.processor, fit.split, fit.task)
        return
    limits = {"vocabulary": ("token", scan.vocabulary), "types": ("token_type_ids of", scan.types)}
    for name, (noun, limit) in limits.items():
        if tally := scan.tallies.get(name):
            yield (
                f"{fit.pretrained}: the tokenizer gives {noun} {tally.value} ({tally}), and the model has embeddings "
                f"for 0 to {limit - 1}: save the tokenizer that it was trained with"
            )
    if tally := scan.tallies.get("positions"):
        yield (
            f"max_length={fit.model.max_length} lets {tally.value} tokens through ({tally}), and {fit.pretrained} has "
            f"positions for {scan.positions}; set max_length={scan.positions}"
        )
    if (tally := scan.tallies.get("empty")) and tally.rows == scan.rows:
        yield (
            f"{fit.pretrained}: every row has a text without a single token that the tokenizer knows ({tally}); the "
            "column is empty, or the tokenizer is another model's"
        )


def _row_notes(fit: Fit) -> Iterator[str]:
    if (scan := fit.scan) is None:
        return
    special = ", ".join(scan.special[:5])
    sentences = {
        "empty": "the tokenizer knows no token of a text",
        "special": f"a text holds one of the tokenizer's special tokens ({special}), which the model reads as such",
        "cut": f"a text is cut to max_length={fit.model.max_length} tokens, or just fills them",
    }
    for name, sentence in sentences.items():
        if tally := scan.tallies.get(name):
            yield f"{sentence}: {tally} (of {scan.rows:,})"
    if len(fit.processor) < 0.9 * scan.vocabulary < sys.maxsize / 2:
        yield (
            f"the tokenizer has {len(fit.processor):,} tokens and the model embeddings for {scan.vocabulary:,}; "
            "they may not belong together"
        )


def _answers(fit: Fit) -> Iterator[str]:
    """Check that the model answers two rows in one batch with what the kind reads."""
    name = type(fit.loaded[0]).__name__
    try:
        fit.answer(fit.trial)
    except Exception as error:  # whatever the model raises
        problem = f"{fit.pretrained}: {name} fails on two rows of the test part: {brief_error(error)}"
        yield f"{problem}; correct config.json, or save the tokenizer that it was trained with"


def _weight_notes(fit: Fit) -> Iterator[str]:
    from safetensors import safe_open

    folder, pickled = fit.pretrained, untrained.is_pickled(fit.pretrained)
    if pickled:
        yield "its weights come as pickles alone; they were read as tensors, with weights_only"
    elif any(folder.glob("pytorch_model*.bin")):
        yield f"{folder} has its weights twice; those in safetensors were read, not pytorch_model.bin"
    formats = set()
    for file in () if pickled else sorted(folder.glob("model*.safetensors")):
        with safe_open(file, framework="numpy") as weights:
            formats |= {str(weights.get_slice(name).get_dtype()) for name in weights.keys()}  # noqa: SIM118
    declared = str(fit.declared.get("dtype") or fit.declared.get("torch_dtype") or "")
    if stored := sorted(formats & {*HALF}) or ([declared] if pickled and "16" in declared else []):
        yield f"its weights are stored as {' and '.join(stored)}; the reference computes with them in float32"
    unused = [key for key in fit.loaded[1]["unexpected_keys"] if "pooler" not in key]
    if fit.model.is_used_as_is and unused and fit.task.kind.auto_class != "AutoModel":
        yield f"{len(unused)} weights of its file are not used, for example {unused[0]}"


def _setting_notes(fit: Fit) -> Iterator[str]:
    if getattr(fit.processor, "init_kwargs", {}).get(SETTINGS):
        settings = settings_of(fit.processor)
        pairs = zip(fit.task.inputs, settings["prompts"], strict=True)
        prompts = [f", {text!r} before {name}" for name, text in pairs if text]
        yield (
            f"vectors are made as its Sentence Transformers folder declares: pooling {settings['pooling']}, "
            f"{'scaled to length 1' if settings['normalize'] else 'not scaled'}, at most "
            f"{min(settings['max_length'] or sys.maxsize, fit.model.max_length)} "
            f"tokens{''.join(prompts)}"
        )
    specific = fit.declared.get("task_specific_params") or {}
    prefixes = [str(one["prefix"]) for one in specific.values() if isinstance(one, dict) and one.get("prefix")]
    texts = fit.split.test[fit.task.inputs[0]] if prefixes and fit.task.kind.tokens is not None else ()
    without = [text for text in texts if not str(text).startswith(tuple(prefixes))]
    if without:
        yield (
            f"config.json declares prefixes ({', '.join(map(repr, prefixes[:4]))}) and more in task_specific_params, "
            f"which are not applied; {len(without):,} of {len(texts):,} test rows begin with none: write it "
            "into the rows if the model was trained with it"
        )
    if fit.task.kind.tokens is not None and getattr(fit.loaded[0].generation_config, "do_sample", False):
        yield "its generation settings say do_sample=true; answers are generated without sampling"


def _padding_notes(fit: Fit) -> Iterator[str]:
    if fit.task.kind.label not in ("one", "many", "number") or fit.scan is None or not fit.model.is_used_as_is:
        return
    alone = np.concatenate([fit.answer([row])["logits"] for row in fit.trial])
    moved = np.abs(alone - fit.answer(fit.trial)["logits"]).max()
    if moved > 1e-3 * np.abs(alone).max():
        change = f"its answer to a row changes by up to {moved:.2g} with the padding beside it in a batch"
        yield f"{change}: the tokenizer pads on another side than in training, or gives no attention_mask"


PARTS: tuple[Check, ...] = (_misfits, _targets, _padding)
ROWS: tuple[Check, ...] = (_rows,)
RUNS: tuple[Check, ...] = (_answers,)
NOTES: tuple[Check, ...] = (_weight_notes, _setting_notes, _row_notes, _padding_notes)
