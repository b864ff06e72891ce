"""Settings that a Sentence Transformers folder declares besides its model: pooling, prompts, similarity, length.

All that changes a vector is honoured, or refused by file and key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.contracts.sources import model_folder
from harness.errors import HarnessError, brief_error

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
POOLINGS = ("mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean")
"""By Sentence Transformers' present names."""
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""By its former names."""
LAYOUTS = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
HARMLESS = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
"""Keys of sentence_bert_config.json that have one supported value."""
IGNORED = ("max_seq_length", "do_lower_case", "unpad_inputs", *HARMLESS, "modality_config")
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""Names under which `encode_document` looks for its prompt, in this order."""


PLAIN: dict[str, Any] = {"pooling": "mean", "normalize": True, "prompts": ["", ""], "max_length": None, "lower": False}
"""Settings of a model without modules of its own: Sentence Transformers' defaults."""


def read(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the Sentence Transformers folder whose model lies in `folder`; None without one."""
    try:
        return _read(folder)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise HarnessError(
            f"{folder}: {MODULES} and the files that it names are not as Sentence Transformers writes them "
            f"({brief_error(error)}); save the model again"
        ) from error


def _read(folder: Path) -> dict[str, Any] | None:
    root = folder if (folder / MODULES).is_file() else folder.parent
    if not (root / MODULES).is_file() or (root != folder and model_folder(root).resolve() != folder.resolve()):
        return None
    modules: list[dict[str, str]] = checkpoint.read_json(root / MODULES)
    names = [str(module.get("type")) for module in modules]
    kept = [name.rpartition(".")[2] for name in names if not name.endswith(".Dropout")]
    if kept not in LAYOUTS or not all(name.startswith("sentence_transformers.") for name in names):
        raise HarnessError(
            f"{root / MODULES}: its modules are {', '.join(names)}; feature extraction applies Transformer, Pooling "
            "and Normalize, in this order: measure a model without the others"
        )
    (place,) = (str(module["path"]) for module in modules if module["type"].endswith(".Pooling"))
    prompts, normalize = _prompts(root), _is_normalized(root, "Normalize" in kept)
    settings = {"pooling": _pooling(root / place / "config.json"), "normalize": normalize, "prompts": prompts}
    if any(prompts) and not checkpoint.read_json(root / place / "config.json").get("include_prompt", True):
        raise HarnessError(
            f"{root / place / 'config.json'}: include_prompt=false leaves the prompts of {SETTINGS} out of the "
            "pooling, which feature extraction cannot; measure a model whose pooling includes its prompts"
        )
    return settings | _text_settings(folder)


def _pooling(file: Path) -> str:
    declared = checkpoint.read_json(file)
    modes = declared.get("pooling_mode") or [name for key, name in FLAGS.items() if declared.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise HarnessError(
            f"{file}: pooling_mode {' and '.join(map(str, modes))}; feature extraction applies one of "
            f"{', '.join(POOLINGS)}: measure a model with one of them"
        )
    return str(modes[0])


def _is_normalized(root: Path, has_module: bool) -> bool:
    """Return True if vectors are compared at length 1; HarnessError for a similarity that ranks them otherwise."""
    file = root / SETTINGS
    similarity = str((checkpoint.read_json(file) if file.is_file() else {}).get("similarity_fn_name") or "cosine")
    # Vectors of length 1 are ranked alike by their cosine, product and Euclidean distance.
    if similarity not in ("cosine", "dot", "dot_product") and not (similarity == "euclidean" and has_module):
        raise HarnessError(
            f"{file}: similarity_fn_name {similarity!r}; feature extraction ranks by cosine or dot: declare one of "
            "them if the model may be used so"
        )
    return has_module or similarity == "cosine"


def _prompts(root: Path) -> list[str]:
    """Return the prompts that `encode_query` and `encode_document` put before a text."""
    file = root / SETTINGS
    declared = checkpoint.read_json(file) if file.is_file() else {}
    if declared.get("truncate_dim"):
        raise HarnessError(f"{file}: truncate_dim cuts vectors short, which is not applied; remove it for whole ones")
    prompts, default = declared.get("prompts") or {}, declared.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise HarnessError(f"{file}: unknown default_prompt_name {default!r}; expected one of {', '.join(prompts)}")
    names = (("query",), DOCUMENT_PROMPTS)
    chosen = (next((name for name in choices if name in prompts), default) for choices in names)
    return [str(prompts.get(name) or "") for name in chosen]


def _text_settings(folder: Path) -> dict[str, Any]:
    """Return the length and the letters that the Transformer reads."""
    declared: dict[str, Any] = {}
    for file in sorted(folder.glob("sentence_*_config.json")):
        declared = checkpoint.read_json(file)
        text = (declared.get("modality_config") or {}).get("text") or {}
        refused = [key for key, value in declared.items() if value and key not in IGNORED]
        refused += [key for key, value in HARMLESS.items() if declared.get(key) not in (None, value)]
        if text.get("method_output_name", "last_hidden_state") != "last_hidden_state":
            refused.append("modality_config")
        if refused:
            raise HarnessError(
                f"{file}: {', '.join(f'{key}={declared[key]!r}' for key in refused)} changes what the model is given "
                "or answers, and feature extraction does not apply it; measure a model without it"
            )
    length = declared.get("max_seq_length")
    return {"max_length": int(length) if length else None, "lower": bool(declared.get("do_lower_case"))}
