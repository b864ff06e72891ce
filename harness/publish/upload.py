"""Upload a published folder to the Hugging Face Hub in one commit, so that an interrupted upload changes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.hub import REQUEST_ERRORS, inert
from harness.errors import HarnessError
from harness.util.text import redact_secrets

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def check(repo: str, public: bool, evidence: str) -> None:
    """Raise HarnessError before any work if the upload would be refused, or would replace somebody's files.

    A repository with a folder named `evidence` holds a published model, which may be replaced.
    """
    from huggingface_hub import constants, errors

    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", repo, re.ASCII):
        raise HarnessError(f"--push {repo!r}: a repository is named owner/name")
    api, role = _api(), ""
    try:
        # The token is for "read", "write", "fineGrained", or its role is unknown.
        role = str(api.whoami().get("auth", {}).get("accessToken", {}).get("role", ""))
        info = api.model_info(repo)
    except errors.RepositoryNotFoundError:
        info = None
    except (*REQUEST_ERRORS, ValueError) as error:
        raise HarnessError(_explain(error, repo, "nothing was done yet")) from error
    if role == "read":
        raise HarnessError(f"the token is read-only at {constants.ENDPOINT}; set HF_TOKEN to one that may write")
    if info is None:
        return
    if bool(info.private) == public:
        present, wanted, option = ("private", "public", "omit") if public else ("public", "private", "pass")
        raise HarnessError(
            f"{repo} is {present}, not {wanted}: change that in its settings on {constants.ENDPOINT}, {option} "
            "--public, or name another repository"
        )
    files = {file.rfilename for file in info.siblings or ()} - {".gitattributes"}  # the Hub's own
    if files and not any(name.startswith(f"{evidence}/") for name in files):
        raise HarnessError(
            f"{repo} holds other files ({', '.join(sorted(files)[:3])}), which this would replace; name another one"
        )


def upload(repo: str, public: bool, folder: Path, message: str) -> str:
    """Make the repository hold the folder's files and no others, in one commit; return the commit's address."""
    api = _api()
    try:
        api.create_repo(repo, private=not public, repo_type="model", exist_ok=True)
        # Also deletes an earlier model's files, in the same commit: readers see the old model or the new one.
        commit = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=message, delete_patterns="*", repo_type="model"
        )
    except (*REQUEST_ERRORS, ValueError, RuntimeError) as error:
        state = (
            f"{repo} is unchanged, or complete if only the reply was lost; {folder} is complete; run the same "
            "command again, which sends only the missing files"
        )
        raise HarnessError(_explain(error, repo, state)) from error
    return str(commit.commit_url)


def _api() -> HfApi:
    """Return the Hub's API with the user's token; raise HarnessError without one."""
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise HarnessError("HF_HUB_OFFLINE is set, and --push needs the Hub; unset it, or leave out --push")
    token = get_token()
    if token is None:
        raise HarnessError("--push needs a token that may write: run hf auth login, or set HF_TOKEN; nothing was done")
    return HfApi(endpoint=constants.ENDPOINT, token=token)


def _explain(error: BaseException, repo: str, state: str) -> str:
    """Return the cause, the state of things and what to do, without secrets."""
    from huggingface_hub import constants, get_token

    while getattr(error, "response", None) is None and error.__cause__ is not None:
        error = error.__cause__  # an upload in a thread wraps the reason
    status = getattr(getattr(error, "response", None), "status_code", None)
    why = {
        None: f"no complete answer from {constants.ENDPOINT} ({type(error).__name__}: {inert(str(error))})",
        401: "the token is not accepted (401): run hf auth login, or set HF_TOKEN to one that is",
        403: f"the token may not write to {repo} (403): give it that right, or name another repository",
        429: "the Hub asks for fewer requests (429): wait some minutes",
    }.get(status, f"the Hub failed with status {status}: {inert(str(error))}")
    return redact_secrets(redact_secrets(f"{repo}: {why}; {state}"), {"HF_TOKEN": get_token() or ""})
