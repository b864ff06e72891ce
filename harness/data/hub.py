"""Download repositories of the Hugging Face Hub at a pinned commit, and execute no code of theirs.

Every file is checked against the digest in the Hub's own metadata. Errors hold no secret.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import msgspec
from fsspec.utils import glob_translate
from huggingface_hub import HfApi, constants, errors, hf_hub_download, metadata_load
from huggingface_hub.utils.tqdm import disable_progress_bars

from harness.contracts.declarations import check_choice
from harness.contracts.sources import COMMIT, Hub, RepoType
from harness.data import layout
from harness.data.delimited import Dialect
from harness.errors import HarnessError
from harness.util.files import write_atomically

CARD = "README.md"
CONFIGURATION_SUFFIXES = (".json", ".txt", ".model", ".spm", ".jinja")
INFOS = "dataset_infos.json"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
DATA_SUFFIXES = (*layout.SUFFIXES, *IMAGE_SUFFIXES)
READER = ("sep", "delimiter", "encoding")
"""Settings of a card's configuration for reading text files."""

STATUS = {
    401: "HF_TOKEN is not accepted (401); renew it, or unset it for a public repository",
    403: "HF_TOKEN may not read it (403); give the token that right, or use another account's",
    429: "the Hub asks for fewer requests (429); wait some minutes, or set HF_TOKEN, which has a higher limit",
}

REQUEST_ERRORS = (OSError, cast("type[Exception]", errors.HfHubHTTPError.__bases__[0]))
"""Errors of a request to the Hub: the second is httpx's or its successor's, by the version of the Hub's library."""


class Note(msgspec.Struct, frozen=True):
    """Record of a complete download. The Hub's cache does not tell a partial one from a complete one."""

    path: str
    files: dict[str, str]
    """File → `sha256:…` where the Hub keeps it as LFS object, else `git:…`, the SHA-1 by which git names it."""


class Selection(NamedTuple):
    """The files of one configuration of a dataset."""

    config: str
    splits: dict[str, list[str]]
    """Split → its files; empty for images in folders."""
    files: list[str]
    dialect: Dialect
    notes: list[str]


def fetch(source: Hub, repo_type: RepoType) -> Path:
    """Return the folder with the verified files of a repository; HarnessError with the cause otherwise."""
    outcome = attempt(source, repo_type)
    if isinstance(outcome, HarnessError):
        raise outcome
    return outcome


@cache
def attempt(source: Hub, repo_type: RepoType) -> Path | HarnessError:
    """Return the folder or the error, so that a session waits only once for a Hub that does not answer."""
    commit = source.commit
    if commit is None:
        return HarnessError(_how_to_pin(source, repo_type))
    name = "--".join([repo_type, *source.repo.split("/"), source.config or "default", commit])
    note_file = Path(constants.HF_HOME) / "shipbench" / f"{name}.json"
    if (folder := _noted_folder(note_file)) is not None:
        return folder
    if constants.HF_HUB_OFFLINE:
        return HarnessError(f"{source}: HF_HUB_OFFLINE is set, and commit {commit} is not downloaded; unset it first")
    try:
        note = _download(source, repo_type, commit)
    except Exception as error:
        # Not chained to the original error, whose addresses may be signed.
        return HarnessError(f"{source} @ {commit}: {_explain(error, source, repo_type, commit)}")
    write_atomically(note_file, msgspec.json.encode(note))
    return Path(note.path)


def pin(source: Hub, repo_type: RepoType) -> Hub:
    """Return a repository at its newest commit."""
    try:
        return replace(source, revision=_repo_info(source, repo_type, None).sha)
    except Exception as error:  # not chained, as above
        raise HarnessError(f"{source}: {_explain(error, source, repo_type, 'main')}") from None


def inert(text: str) -> str:
    """Shorten foreign text to one line and drop URL queries, which may hold a signature."""
    return re.sub(r"\?[^\s'\")]+", "?…", " ".join(text.split()))[:300]


def _noted_folder(note_file: Path) -> Path | None:
    """Return the folder of an earlier download if all its files are still as the Hub stated them."""
    try:
        note = msgspec.json.decode(note_file.read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError):
        return None
    folder = Path(note.path)
    intact = all((folder / name).exists() and _matches(folder / name, digest) for name, digest in note.files.items())
    return folder if intact else None


def _how_to_pin(source: Hub, repo_type: RepoType) -> str:
    """Return the message for a source without a commit. It names the current one if the Hub can be asked."""
    problem = f"revision={source.revision!r} is not a commit" if source.revision else "revision= is missing"
    revision = source.revision or "main"
    commit, hint = "<40 hex digits>", f"; {_page(source, repo_type)}/commits/{revision} lists the commits"
    if not constants.HF_HUB_OFFLINE:
        try:
            current = str(_repo_info(source, repo_type, source.revision).sha)
            if COMMIT.fullmatch(current):
                commit, hint = current, ""
        except Exception as error:
            hint += f" (the Hub could not be asked: {_explain(error, source, repo_type, revision)})"
    arguments = ", ".join(repr(name) for name in (source.repo, source.config) if name is not None)
    return f"{source}: {problem}; pin the commit: Hub({arguments}, revision={commit!r}){hint}"


def _repo_info(source: Hub, repo_type: RepoType, revision: str | None) -> Any:
    wait_s = constants.HF_HUB_ETAG_TIMEOUT
    return HfApi().repo_info(source.repo, repo_type=repo_type, revision=revision, files_metadata=True, timeout=wait_s)


def _download(source: Hub, repo_type: RepoType, commit: str) -> Note:
    info = _repo_info(source, repo_type, commit)
    if info.sha != commit:
        raise HarnessError(
            f"the Hub answers with commit {info.sha} when asked for {commit}; run it again, or check HF_ENDPOINT"
        )
    files = info.siblings or ()
    digests = {f.rfilename: f"sha256:{f.lfs.sha256}" if f.lfs else f"git:{f.blob_id}" for f in files}
    constants.HF_HUB_DISABLE_XET = True  # plain HTTP has read timeouts
    disable_progress_bars("huggingface_hub.http_get")

    def verified(name: str) -> Path:
        arguments = {"repo_id": source.repo, "repo_type": repo_type, "revision": commit, "filename": name}
        return _verified(arguments, digests[name])

    if repo_type == "model":
        names = _model_files(digests)
    else:
        names = _dataset_files(source, digests, (metadata_load(verified(CARD)) or {}) if CARD in digests else None)
    paths = {name: verified(name) for name in sorted(names)}
    name, path = next(iter(paths.items()))
    return Note(path=str(path.parents[name.count("/")]), files={name: digests[name] for name in paths})


def _model_files(names: Collection[str]) -> list[str]:
    """Select card, configuration, vocabulary and weights; pickled weights only where there are no safetensors."""
    top = [name for name in names if "/" not in name]
    weights = fnmatch.filter(top, "model*.safetensors") or fnmatch.filter(top, "pytorch_model*.bin")
    if not weights:
        raise HarnessError(
            "it has neither model.safetensors nor pytorch_model.bin; choose a repository with weights for PyTorch"
        )
    other_index = ".bin.index.json" if weights[0].endswith(".safetensors") else ".safetensors.index.json"
    configuration = [name for name in top if name.endswith(CONFIGURATION_SUFFIXES) and not name.endswith(other_index)]
    configuration += fnmatch.filter(names, "*_Pooling/config.json")  # of Sentence Transformers
    return [*weights, *configuration, *({CARD} & {*top})]


def select(source: Hub, folder: Path) -> Selection:
    """Return the files of the configuration in the folder of a dataset that was fetched."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    try:
        return _select(source, names, (metadata_load(folder / CARD) or {}) if CARD in names else None)
    except HarnessError as error:
        raise HarnessError(f"{source}: {error}") from error.__cause__


def features(folder: Path, config: str) -> dict[str, Any]:
    """Return column → feature for the labels and images that a dataset's card or its infos declare."""
    from datasets import ClassLabel, Image, LargeList, List
    from datasets.info import DatasetInfosDict

    info = DatasetInfosDict.from_directory(str(folder)).get(config)
    declared = (info.features if info else None) or {}
    inner = {name: f.feature if isinstance(f, List | LargeList) else f for name, f in declared.items()}
    return {name: declared[name] for name in inner if isinstance(inner[name], ClassLabel | Image)}


def _dataset_files(source: Hub, names: Collection[str], card: dict[str, Any] | None) -> list[str]:
    """Return the files of a configuration, and those that describe it."""
    return [*_select(source, names, card).files, *({CARD, INFOS} & {*names})]


def _select(source: Hub, names: Collection[str], card: dict[str, Any] | None) -> Selection:
    """Return the files that a card names for the configuration, or all where it names none."""
    configs = {entry.get("config_name", "default"): entry for entry in (card or {}).get("configs") or ()}
    supported = [name for name in names if name.lower().endswith(DATA_SUFFIXES) and name != INFOS]
    if configs:
        return _select_declared(source, configs, names)
    config = source.config or "default"
    if scripts := [name for name in names if name == f"{source.repo.partition('/')[2]}.py"]:
        page = f"{_page(source, 'dataset')}/commits/refs%2Fconvert%2Fparquet"
        raise HarnessError(
            f"its rows come from the script {scripts[0]}, which is not run; pin a commit listed at {page}"
        )
    if not supported:
        raise HarnessError(f"it has no files of a supported type; expected one of {', '.join(DATA_SUFFIXES)}")
    if card is None:  # the Hub's own conversion to parquet: config/split/0000.parquet
        folders = list(dict.fromkeys(name.partition("/")[0] for name in supported if name.count("/") > 1))
        if source.config in folders:
            supported = [name for name in supported if name.startswith(f"{config}/")]
        elif len(folders) > 1 and source.config is None and all(name.count("/") > 1 for name in supported):
            raise HarnessError(f"it has the configurations {', '.join(folders)}; name one: Hub(repo, config)")
        config, folders = source.config or (folders or ["default"])[0], ["default", *folders]
    else:
        folders = ["default"]
    check_choice("it", "configuration", config, folders)
    return _infer(supported, config, {}, [])


def _select_declared(source: Hub, configs: Mapping[str, dict[str, Any]], names: Collection[str]) -> Selection:
    """Return the files that the card's entry for the configuration names."""
    marked = [name for name, entry in configs.items() if entry.get("default") or len(configs) == 1]
    config = source.config or ("default" if "default" in configs else next(iter(marked), None))
    if config is None or config not in configs:
        raise HarnessError(f"it has the configurations {', '.join(configs)}; name one: Hub(repo, config)")
    entry = configs[config]
    notes = (
        [] if source.config or len(configs) == 1 else [f"{source}: configuration {config}, the card's default, is read"]
    )
    if strange := {*entry} - {"config_name", "data_files", "data_dir", "default", "version", "description", "features",
                              *READER}:  # fmt: skip
        raise HarnessError(f"its card reads {config} with {', '.join(sorted(strange))}, which is not supported")
    base = f"{str(entry.get('data_dir') or '').strip('./')}/".lstrip("/")
    if "data_files" not in entry:
        supported = [n for n in names if n.lower().endswith(DATA_SUFFIXES) and n.startswith(base) and n != INFOS]
        return _infer(supported, config, entry, notes)
    splits: dict[str, list[str]] = {}
    for split, pattern in _patterns(entry["data_files"]):
        rule = re.compile(glob_translate(base + pattern.removeprefix("./")))
        matches = [name for name in names if rule.match(name) and not re.search(r"(^|/)\.", name) and name != CARD]
        if not matches:
            raise HarnessError(
                f"its card names {pattern} for {config}, which matches none of its files; choose another with config="
            )
        splits[split] = list(dict.fromkeys([*splits.get(split, ()), *matches]))
    files = [name for names in splits.values() for name in names]
    if unsupported := sorted(name for name in files if not name.lower().endswith(DATA_SUFFIXES)):
        raise HarnessError(
            f"{len(unsupported)} of its files have an unsupported type, for example {unsupported[0]}; "
            f"expected one of {', '.join(DATA_SUFFIXES)}"
        )
    images = all(name.lower().endswith(IMAGE_SUFFIXES) for name in files)
    return Selection(config, {} if images else splits, files, _dialect(entry), notes)


def _infer(names: Sequence[str], config: str, entry: Mapping[str, Any], notes: list[str]) -> Selection:
    """Return the files by the splits after which they or their folders are named, as the Hub names them."""
    splits: dict[str, list[str]] = {}
    if any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
        return Selection(config, {}, list(names), _dialect(entry), notes)
    for name in names:
        path = PurePosixPath(name)
        sharded = re.fullmatch(r"(\w[\w.]*?)-\d{5}-of-\d{5}(-[0-9a-f]+)?", layout.stem_of(path))
        split = path.parent.name if layout.stem_of(path).isdigit() else sharded[1] if sharded else None
        splits.setdefault(split or layout.split_of(Path(), path) or "", []).append(name)
    if others := splits.pop("", []):
        if splits:
            notes = [*notes, f"{len(others)} files named after no split, such as {others[0]}, were left out"]
        else:
            splits = {"train": others}
    return Selection(config, splits, [name for names in splits.values() for name in names], _dialect(entry), notes)


def _dialect(entry: Mapping[str, Any]) -> Dialect:
    return Dialect(encoding=entry.get("encoding"), separator=entry.get("sep") or entry.get("delimiter"))


def _patterns(data_files: Any, split: str = "train") -> Iterator[tuple[str, str]]:
    """Yield split and pattern of a card's `data_files`: a pattern, a list of them, or a list of splits with either."""
    if isinstance(data_files, str):
        yield split, data_files
    elif isinstance(data_files, dict):
        yield from _patterns(data_files["path"], str(data_files["split"]))
    else:
        for entry in data_files:
            yield from _patterns(entry, split)


def _verified(arguments: dict[str, Any], digest: str) -> Path:
    """Return the file if its content has the Hub's digest; a damaged copy is downloaded again once."""
    try:
        path = Path(hf_hub_download(**arguments))
        if _matches(path, digest):
            return path
    except OSError as error:
        # Plain OSError: a copy of the wrong length. 416: a partial copy that is too long to be continued.
        if type(error) is not OSError and _status_of(error) != 416:
            raise
    path = Path(hf_hub_download(**arguments, force_download=True))
    if _matches(path, digest):
        return path
    path.resolve().unlink()
    raise HarnessError(f"{arguments['filename']} does not have the digest that the Hub states ({digest}); deleted")


def _matches(path: Path, digest: str) -> bool:
    """Return whether the content of a file has a digest."""
    kind, _, expected = digest.partition(":")
    # Git names a blob by SHA-1, and so does the Hub where it keeps no sha256.
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256 if kind == "sha256" else lambda: blob).hexdigest() == expected


def _explain(error: BaseException, source: Hub, repo_type: RepoType, revision: str) -> str:
    """Return what went wrong and what to do."""
    # The Hub's library wraps the failed request when the file is not in the cache either, or a fresh copy was forced.
    while isinstance(error, errors.LocalEntryNotFoundError | ValueError) and error.__cause__ is not None:
        error = error.__cause__
    page = _page(source, repo_type)
    match error:
        case HarnessError():
            return str(error)
        case errors.GatedRepoError():
            return f"it is gated: accept its terms at {page}, and set HF_TOKEN to a token of that account"
        case errors.RepositoryNotFoundError():
            return f"{page} does not exist, or it is private and HF_TOKEN is not a token that may read it"
        case errors.RevisionNotFoundError():
            return f"revision {revision} does not exist; {page}/commits/main lists the commits"
    if (status := _status_of(error)) is not None:
        return STATUS.get(status, f"the Hub failed with status {status}; run again later: complete files are kept")
    problem = f"{type(error).__name__}: {inert(str(error))}"
    if isinstance(error, REQUEST_ERRORS):
        return f"no complete answer from {constants.ENDPOINT} ({problem}); check the network: complete files are kept"
    return problem


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status of the response that an error is about, if there was one."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _page(source: Hub, repo_type: RepoType) -> str:
    return f"{constants.ENDPOINT}/{'datasets/' if repo_type == 'dataset' else ''}{source.repo}"
