"""Download repositories of the Hugging Face Hub at a pinned commit, and execute no code of theirs.

Every file is checked against the digest in the Hub's own metadata. Errors hold no secret.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
from huggingface_hub import HfApi, constants, errors, hf_hub_download, metadata_load
from huggingface_hub.utils.tqdm import disable_progress_bars

from harness.contracts.sources import COMMIT, Hub, RepoType
from harness.data.hub_files import CARD, dataset_files, model_files, page
from harness.errors import HarnessError
from harness.util.files import write_atomically

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
    commit, hint = "<40 hex digits>", f"; {page(source, repo_type)}/commits/{revision} lists the commits"
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
        names = model_files(digests)
    else:
        names = dataset_files(source, digests, (metadata_load(verified(CARD)) or {}) if CARD in digests else None)
    paths = {name: verified(name) for name in sorted(names)}
    name, path = next(iter(paths.items()))
    return Note(path=str(path.parents[name.count("/")]), files={name: digests[name] for name in paths})


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
    address = page(source, repo_type)
    match error:
        case HarnessError():
            return str(error)
        case errors.GatedRepoError():
            return f"it is gated: accept its terms at {address}, and set HF_TOKEN to a token of that account"
        case errors.RepositoryNotFoundError():
            return f"{address} does not exist, or it is private and HF_TOKEN is not a token that may read it"
        case errors.RevisionNotFoundError():
            return f"revision {revision} does not exist; {address}/commits/main lists the commits"
    if (status := _status_of(error)) is not None:
        return STATUS.get(status, f"the Hub failed with status {status}; run again later: complete files are kept")
    problem = f"{type(error).__name__}: {inert(str(error))}"
    if isinstance(error, REQUEST_ERRORS):
        return f"no complete answer from {constants.ENDPOINT} ({problem}); check the network: complete files are kept"
    return problem


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status of the response that an error is about, if there was one."""
    return getattr(getattr(error, "response", None), "status_code", None)
