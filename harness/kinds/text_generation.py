"""Text generation: a model continues a prompt, as it is or through its chat template.

A backend answers with `sequences` of shape (batch, new tokens): the tokens that a greedy search writes after the
prompt, always as many as `Model.new_tokens` states. What follows the model's own end of an answer is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.contracts.kind import IGNORE_INDEX, Arrays, EncodedRows, Example, Kind, row_labels
from harness.contracts.sources import Row
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.generation import decode_sequences
from harness.util.decoding import read_limits


def load_tokenizer(folder: Path, padding_side: str = "left") -> Any:
    """Return the tokenizer in `folder`, which pads by the token that ends texts if it has none for it."""
    tokenizer = common.read_tokenizer(folder, padding_side=padding_side)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    common.check_padding(folder, tokenizer)
    if "attention_mask" not in tokenizer.model_input_names:
        raise HarnessError(
            f"{folder}: {type(tokenizer).__name__} writes no attention_mask, without which padding would be part of a "
            'prompt; save it with model_input_names=["input_ids", "attention_mask"]'
        )
    names = ["input_ids", "attention_mask"]
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    return tokenizer


def _load_chat_tokenizer(folder: Path) -> Any:
    tokenizer = load_tokenizer(folder)
    if not tokenizer.chat_template:
        raise HarnessError(
            f"{folder}: the tokenizer has no chat template, which chat-completion needs; save it with the template "
            "that the model was trained with, or write whole prompts into the rows and choose text-generation"
        )
    return tokenizer


def has_template(folder: Path) -> bool:
    """Return whether a model's folder has a chat template: a file of its own, or an entry of the tokenizer's."""
    file = folder / "tokenizer_config.json"
    declared = checkpoint.read_json(file) if file.is_file() else {}
    return (folder / "chat_template.jinja").is_file() or bool(declared.get("chat_template"))


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    return _prompts(tokenizer, _column(rows, inputs), max_length)


def _encode_chat(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    """Encode each text as the message of a user, and the beginning of the assistant's answer."""
    chats = [[{"role": "user", "content": text}] for text in _column(rows, inputs)]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    return _prompts(tokenizer, texts, max_length, add_special_tokens=False)  # the template has written them


def _column(rows: Sequence[Row], inputs: tuple[str, ...]) -> list[str]:
    if len(inputs) != 1:
        raise HarnessError(f"inputs={inputs}: text is generated from one column of prompts; give one")
    return common.texts(rows, inputs[0])


def _prompts(tokenizer: Any, texts: list[str], max_length: int, **settings: Any) -> list[list[Example]]:
    """Return one example a text; HarnessError for a longer one: a part of a prompt asks for something else."""
    prompts = tokenizer(texts, **settings)["input_ids"]
    longest = max(prompts, key=len)
    if len(longest) > max_length:
        count = sum(len(prompt) > max_length for prompt in prompts)
        raise HarnessError(
            f"{count:,} of {len(prompts):,} prompts are longer than max_length={max_length}, and prompts are not cut; "
            f"raise it to {len(longest)} if the model reads as much, or shorten them, first "
            f"{texts[prompts.index(longest)][:60]!r}"
        )
    return [[{"input_ids": ids, "attention_mask": [1] * len(ids)}] for ids in prompts]


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    """Return the prompt with its reference and an end after it; the loss is the reference's alone."""
    tokenizer = encoded.processor
    references = tokenizer([str(label) for label in row_labels(encoded)], add_special_tokens=False)["input_ids"]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    targets = []
    for (example,), reference in zip(encoded.examples, references, strict=True):
        prompt, written = list(example["input_ids"]), [*reference[: encoded.max_length], *end]
        labels = [IGNORE_INDEX] * len(prompt) + written
        targets.append([{"input_ids": prompt + written, "attention_mask": [1] * len(labels), "labels": labels}])
    return targets


def _problem(row: Row, inputs: tuple[str, ...]) -> str:
    for name, text in ((inputs[0], row[inputs[0]]), ("the reference", row["label"])):
        if not isinstance(text, str):
            return f"{name} is {type(text).__name__}, not text"
        if not text.strip():
            return f"{name} is empty"
    return ""


def _count_tokens(tokenizer: Any, outputs: Arrays) -> int:
    return int(common.output(outputs, "sequences").shape[1])


def _remark(folder: Path, encoded: EncodedRows, outputs: Sequence[Arrays]) -> str:
    """Return how many tokens are written, how many answers end before, and by which token batches are padded."""
    limits = read_limits(folder)
    assert limits is not None
    ended = sum(bool({*limits.ends} & {*common.output(row, "sequences")[0].tolist()}) for row in outputs)
    lengths = sorted(len(encoded.examples[row][0]["input_ids"]) for row in range(len(outputs)))
    tokenizer = encoded.processor
    text = (
        f"every call writes {limits.new_tokens} tokens after prompts of {lengths[0]} to {lengths[-1]}, the median "
        f"{lengths[len(lengths) // 2]}, and never stops early; {ended:,} of {len(outputs):,} answers end by "
        "themselves, and count up to there"
    )
    text += "; raise new_tokens if the others should be longer" if ended < len(outputs) else ""
    is_end = tokenizer.pad_token == tokenizer.eos_token
    return text + (f"; batches are padded with the token that ends texts, {tokenizer.pad_token}" if is_end else "")


text_generation = Kind(
    name="text-generation",
    auto_class="AutoModelForCausalLM",
    export="text-generation-with-past",
    metrics=("rougeL", "chrf", "bleu", "rouge1", "rouge2", "exact-match", "token-f1"),
    label="text",
    most_inputs=1,
    load_processor=load_tokenizer,
    encode=_encode,
    collate=common.collate,
    problem=_problem,
    targets=_targets,
    predict=decode_sequences,
    tokens=_count_tokens,
    remark=_remark,
)

chat_completion = replace(
    text_generation, name="chat-completion", load_processor=_load_chat_tokenizer, encode=_encode_chat
)
