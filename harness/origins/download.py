"""`python -m harness.origins.download`: bring files of one commit from the Hub, checked against the Hub's own digests.

A process of its own, because a connection that neither answers nor ends can only be left by ending who waits for it.
It reads one `Order` as JSON from standard input and answers in JSON lines: how much there is to bring; then where the
files lie, or what went wrong and what to do. It executes nothing that it brings.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, constants, hf_hub_download, metadata_load
from huggingface_hub.file_download import repo_folder_name

from harness.origins.lock import Sort
from harness.origins.refusals import Refused, explain

PATIENCE_S = 8
"""Seconds that one request may be silent."""
CHUNK_BYTES = 1 << 14
"""Written at a time, so that it is seen to arrive on a slow line."""
BEAT_BYTES = 1 << 24
"""A sign of life after so many bytes of a file that is checked."""
CARD = "README.md"
CONFIGURATION = (".json", ".txt", ".model", ".spm", ".jinja")
DATA = (
    ".parquet", ".csv", ".tsv", ".jsonl", ".json", ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff",
)  # fmt: skip


class Order(NamedTuple):
    """What is wanted."""

    sort: Sort
    repo: str
    config: str | None
    revision: str
    """A commit, or a branch where only `files` are asked for."""
    known: dict[str, str] | None
    """File → digest, where a lock says so."""
    fetch: bool
    """Whether the files are wanted too, or only which they are."""


def main() -> None:
    """Answer the one order on standard input."""
    order = Order(*json.load(sys.stdin))
    try:
        bring(order)
    except Exception as error:  # said in a sentence; the process ends with it
        say({"error": explain(error, order.sort, order.repo, order.revision)})


def say(message: dict[str, Any]) -> None:
    """A line for who asked."""
    print(json.dumps(message), flush=True)  # noqa: T201  # its only way to speak


def bring(order: Order) -> None:
    """Say what the repository holds of what is wanted, and bring it."""
    info = HfApi().repo_info(
        order.repo, repo_type=order.sort, revision=order.revision, files_metadata=True, timeout=PATIENCE_S
    )
    commit = str(info.sha)
    if len(order.revision) == 40 and commit != order.revision:
        raise Refused(f"the Hub answers with commit {commit} when asked for {order.revision}")
    there = {file.rfilename: digest_of(file) for file in info.siblings or ()}
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    order = order._replace(revision=commit)
    wanted = of_model(there) if order.sort == "model" else of_dataset(there, order)
    files = {name: there[name] for name in sorted(wanted)}
    if order.known is not None and CARD not in order.known and order.sort == "model":
        files.pop(CARD, None)  # a lock of before cards of models were fetched
    if order.known is not None and order.known != files:
        different = sorted(name for name in {*files, *order.known} if files.get(name) != order.known.get(name))
        raise Refused(f"hub.lock knows other contents of {', '.join(different)} at commit {commit}")
    if not {*files} - {CARD}:
        raise Refused(f"it has no files that are read here: {', '.join(DATA)}")
    folder = repo_folder_name(repo_id=order.repo, repo_type=order.sort)
    blobs = Path(constants.HF_HUB_CACHE) / folder / "blobs"
    say({"commit": commit, "files": files, "bytes": sum(sizes[name] for name in files), "blobs": str(blobs)})
    if order.fetch:
        constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
        for name, digest in files.items():
            path = checked(order, name, digest)
            say({"done": name})
        say({"path": str(path.parents[len(Path(name).parts) - 1])})


def of_model(there: Iterable[str]) -> list[str]:
    """Of a model's files those that are read: card, configuration, vocabulary, and weights, as safetensors if any."""
    top = [name for name in there if "/" not in name]
    weights = [name for name in top if fnmatch.fnmatch(name, "model*.safetensors")]
    weights = weights or [name for name in top if fnmatch.fnmatch(name, "pytorch_model*.bin")]
    if not weights:
        raise Refused("it has neither model.safetensors nor pytorch_model.bin")
    of_others = ".bin.index.json" if weights[0].endswith(".safetensors") else ".safetensors.index.json"
    read = [name for name in top if name.endswith(CONFIGURATION) and not name.endswith(of_others)]
    return [*weights, *read, *({CARD} & {*top})]


def of_dataset(there: Mapping[str, str], order: Order) -> list[str]:
    """Of a dataset's files those of its configuration, and the card that says which these are."""
    names = [name for name in there if name.lower().endswith(DATA)]
    if CARD not in there:  # the Hub's own conversion to parquet: a folder for each configuration
        return [name for name in names if name.startswith(f"{order.config}/")] or names
    card = metadata_load(checked(order, CARD, there[CARD])) or {}
    configs = {entry["config_name"]: entry for entry in card.get("configs", ())}
    if order.config is not None and configs and order.config not in configs:
        raise Refused(f"it has no configuration {order.config}; there are {', '.join(configs)}")
    chosen = configs.get(order.config or "default") or (next(iter(configs.values())) if len(configs) == 1 else None)
    if configs and chosen is None:
        raise Refused(f"it comes in {', '.join(configs)}; name one: Hub({order.repo!r}, config)")
    if chosen is None or "data_files" not in chosen:
        return [CARD, *names]
    patterns = list(_patterns(chosen["data_files"]))
    meant = [name for name in there if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    unread = sorted({*meant} - {*names})
    if unread:
        raise Refused(f"{len(unread)} of its files are of a kind that is not read here, {unread[0]} for one")
    return [CARD, *meant]


def _patterns(told: Any) -> Iterable[str]:
    """Of a card's `data_files`: a pattern, a list of them, or of splits with either. One too many does no harm."""
    if isinstance(told, str):
        yield from (told, told.replace("**/", ""))
    elif isinstance(told, dict):
        yield from _patterns(told["path"])
    else:
        for one in told:
            yield from _patterns(one)


def checked(order: Order, name: str, digest: str) -> Path:
    """The file, its content as the Hub says; what the cache has of another content is brought anew, once."""
    for again in (False, True):
        path = download(order, name, again)
        if matches(path, digest, lambda: say({})):
            return path
    path.resolve().unlink()
    raise Refused(f"{name} arrived with another content than the Hub says ({digest}); nothing of it was kept")


def download(order: Order, name: str, again: bool = False) -> Path:
    """A file of the commit, from the cache if it is there."""
    found = hf_hub_download(
        order.repo, name, repo_type=order.sort, revision=order.revision, force_download=again, etag_timeout=PATIENCE_S
    )
    return Path(found)


def digest_of(file: Any) -> str:
    """What the Hub says of a file's content: sha256 of a large one, git's own name of a small one."""
    return f"sha256:{file.lfs.sha256}" if file.lfs else f"git:{file.blob_id}"


def matches(path: Path, digest: str, beat: Callable[[], None] = lambda: None) -> bool:
    """Whether a file on disk has that content; `beat` is called while a large one is read."""
    kind, _, wanted = digest.partition(":")
    # Git names a blob by SHA-1, and so does the Hub where it keeps no sha256.
    found = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        found.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while content := file.read(BEAT_BYTES):
            found.update(content)
            beat()
    return found.hexdigest() == wanted


if __name__ == "__main__":
    main()
