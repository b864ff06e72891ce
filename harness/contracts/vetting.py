"""Model folders that came from somewhere: vetted before Transformers reads them, and read without the network.

A config can name code, repositories and files elsewhere, and what Transformers does with these names depends on its
version. They are refused here whatever the version. Nothing in a folder is executed to decide.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PureWindowsPath
from reprlib import repr as short
from typing import Any

from harness.errors import HarnessError
from harness.util.text import one_line

MOST_FILES = 100_000
MOST_LEVELS = 50
"""Depth to which JSON may be nested; published configs have fewer than ten levels."""
MOST_CONFIG_BYTES, MOST_TEXT_BYTES = 20_000_000, 500_000_000
"""Sizes of a config, and of a vocabulary or template; the largest that are published have a tenth of it."""
MOST_PROBLEMS, LONGEST_PLACE = 10, 200
TEXTS = (".json", ".jinja", ".model", ".spm", ".txt")
VOCABULARY = re.compile(r"(tokenizer|tokenizer\.[\d.]+|vocab|entity_vocab|added_tokens|trainer_state)\.json")
"""Files in JSON whose keys are free."""

CODE = dict.fromkeys(("auto_map", "custom_pipelines"), "names code of the model's own")
CODE |= {"trust_remote_code": "asks to run code of a repository"}
CODE |= dict.fromkeys(("_attn_implementation_internal", "_experts_implementation_internal"), "may name a repository")
"""Keys that are refused at any depth → their meaning."""
FILE_KEY = re.compile(r"(?!special_tokens_map_|added_tokens_)\w*_(file|spm)|vocab|merges")
"""Keys of tokenizer_config.json for files that Transformers opens, or copies when it saves."""
FILE_LISTS = ("configuration_files", "fast_tokenizer_files", "weight_map")
COUNTS = ((re.compile(r"\w*(layers?|blocks|depths?)"), 10_000),
          (re.compile(r"\w*(sizes?|embeddings|positions|heads|num_labels|n_embd|d_model|d_ff)"), 10**8))  # fmt: skip
"""Settings of config.json for the parts of a model, and their largest plausible value."""
COPY = "measure a copy of the model without this key"
UNKNOWN = "which this Transformers does not know; measure a model whose parts are Transformers' own"


def vet(folder: Path, *, pinned: bool = False) -> None:
    """Raise HarnessError for whatever in a model's folder could run code, leads out of it, or is implausibly large.

    Where the contents are pinned by hash, files may be links: that is how some installers install packages.
    """
    if problems := list(islice(_problems(folder, pinned), MOST_PROBLEMS)):
        raise HarnessError("\n".join(map(one_line, problems)))


@contextmanager
def offline() -> Iterator[None]:
    """Keep the Hub's library, and through it Transformers and Optimum, from the network; they draw no bars either."""
    import transformers  # which, until version 5, keeps the setting that it is first imported with
    from huggingface_hub import constants, utils

    transformers.logging.disable_progress_bar()
    reset = getattr(utils, "reset_sessions", lambda: None)  # until version 1 its sessions keep the setting
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        reset()
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        reset()


def _problems(folder: Path, pinned: bool) -> Iterator[str]:
    paths = (Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files))
    entries = sorted(islice(paths, MOST_FILES + 1))
    if len(entries) > MOST_FILES:
        yield f"{folder} has more than {MOST_FILES:,} files; name the model's own folder, or copy its files to one"
    elif links := [*_outward_links(folder, entries, pinned)]:
        yield from links
    else:
        for path in entries:
            if path.suffix.lower() in TEXTS and path.is_file():
                yield from _file_problems(path)


def _outward_links(folder: Path, entries: list[Path], pinned: bool) -> Iterator[str]:
    root, linked = folder.resolve(), defaultdict[tuple[int, int], list[Path]](list)
    # In the Hub's cache snapshots/COMMIT/FILE is a link to blobs/DIGEST of the same repository.
    homes = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    for path in entries:
        if path.exists() and not (path.is_file() or path.is_dir()):
            yield f"{path} is neither a file nor a folder; remove it"
        elif path.is_symlink() and not (pinned and path.is_file()):
            if not any((target := Path(os.path.realpath(path))).is_relative_to(home) for home in homes):
                yield f"{path} is a link to {target}, outside the model's folder; put the file itself in its place"
        elif path.is_file() and not path.is_symlink():
            linked[path.stat().st_dev, path.stat().st_ino].append(path)
    for paths in linked.values() if not pinned else ():
        if (links := paths[0].stat().st_nlink) > len(paths):
            yield f"{paths[0]} is one of {links} hard links, some outside the model's folder; put a copy in its place"


def _file_problems(file: Path) -> Iterator[str]:
    name, size = file.name.lower(), file.stat().st_size
    is_config = name.endswith(".json") and not VOCABULARY.fullmatch(name)
    if size > (most := MOST_CONFIG_BYTES if is_config else MOST_TEXT_BYTES):
        yield f"{file} has {size:,} bytes, and such a file at most {most:,}; save the model again, or remove the file"
    elif is_config:
        try:
            nodes = [*_walk(json.loads(file.read_text(encoding="utf-8-sig")))]
        except RecursionError:
            yield f"{file}: is nested deeper than {MOST_LEVELS} levels; save the model again, or remove the file"
        except (OSError, ValueError):
            return  # which Transformers cannot read either; later checks say so if it is needed
        else:
            problems = [(path, problem) for path, value in nodes for problem in _key_problems(name, path, value)]
            # Without a nested type Transformers need not be imported.
            if name.startswith("config.") and any("model_type" in path[1:] for path, _ in nodes):
                problems += _unknown_types(nodes[0][1])
            yield from (f"{file}: {'.'.join(path)[-LONGEST_PLACE:]} {problem}" for path, problem in problems)


def _walk(declared: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value in JSON data with the keys that lead to it; RecursionError where they are too many."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), declared)]
    while pending:
        path, value = pending.pop()
        if len(path) > MOST_LEVELS:
            raise RecursionError
        yield path, value
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            pending += [((*path, str(key)), item) for key, item in items]


def _key_problems(file: str, path: tuple[str, ...], value: Any) -> Iterator[str]:
    key, above = path[-1] if path else "", path[-2] if len(path) > 1 else ""
    is_file = above in FILE_LISTS or (file == "tokenizer_config.json" and FILE_KEY.fullmatch(key))
    is_name = isinstance(value, str) and (is_file or (key == "name" and "chat_template" in path))
    name = value if is_name else key if above == "chat_template" else ""
    if re.search(r"[/\\\0]", name) or name == "..":
        yield f"has the name {short(name)}, which leads to another folder; {COPY}, or with a plain name"
    if key in CODE and value:
        yield (
            f"{CODE[key]} ({short(value)}), which is never run; {COPY} if Transformers' own class of the architecture "
            "gives the same answers"
        )
    elif isinstance(value, str):
        if "/" in value and any(part.endswith("_implementation") for part in path):
            yield f"names a repository with code ({short(value)}), which is never run; {COPY}"
        place = PureWindowsPath(value)  # which knows both separators
        if file == "modules.json" and key == "path" and (place.anchor or ".." in place.parts):
            yield f"is {short(value)}, which leads out of the model's folder; save the model again"
    elif isinstance(value, int) and file.startswith("config."):
        for pattern, most in COUNTS:
            if value > most and pattern.fullmatch(above if key.isdigit() else key):
                yield f"is {value:,}, and at most {most:,} is plausible; correct it, or save the model again"


def _unknown_types(declared: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield place and problem of each nested config that Transformers would build though it does not know its type."""
    pending: list[tuple[tuple[str, ...], dict[str, Any], Any]] = []
    if isinstance(declared, dict):
        pending.append(((), declared, _config_class(declared, None, "")))
    while pending:
        path, around, owner = pending.pop()
        for key, value in around.items():
            if isinstance(value, dict):
                name, inner = value.get("model_type"), _config_class(value, owner, key)
                is_built = owner is None or key in inspect.signature(owner).parameters or key in _parts(owner)
                if isinstance(name, str) and name and inner is None and is_built:
                    yield (*path, key), f"has the model_type {short(name)}, {UNKNOWN}"
                pending.append(((*path, key), value, inner))


def _config_class(declared: dict[str, Any], owner: Any, key: str) -> Any:
    """Return the class of a config, which may be one that only the class of the config around it knows, or None."""
    from transformers import CONFIG_MAPPING

    name, siblings = declared.get("model_type"), vars(sys.modules[owner.__module__]).values() if owner else ()
    own = {sibling.model_type: sibling for sibling in siblings if hasattr(sibling, "model_type")}
    if isinstance(name, str) and name and (name in own or name in CONFIG_MAPPING):
        return own.get(name) or CONFIG_MAPPING[name]
    part = _parts(owner).get(key)
    return part if hasattr(part, "model_type") else None  # AutoConfig has none


def _parts(owner: Any) -> dict[str, Any]:
    """Return the nested configs that a config class declares; some compute them when they are created."""
    declared = getattr(owner, "sub_configs", None)
    return declared if isinstance(declared, dict) else {}
