"""A published folder goes to the Hugging Face Hub: one commit, which an interrupted upload never makes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.hub import inert
from harness.errors import HarnessError
from harness.util.text import redact_secrets

if TYPE_CHECKING:
    from huggingface_hub import HfApi

OF_THE_HUB = (".gitattributes",)
"""What the Hub itself puts into a new repository."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """Where to, and for whose eyes."""

    repo: str
    """`owner/name`."""
    public: bool = False
    anyway: bool = False
    """Whether a case goes that no verdict says may ship."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", self.repo, re.ASCII):
            raise HarnessError(f"--push {self.repo!r}: a repository is named owner/name")


def check(push: Push, evidence: str) -> None:
    """HarnessError if the upload would be refused, or would meet what is not ours: known before any work is done.

    `evidence` names the folder by which a repository is known to hold a published model.
    """
    from huggingface_hub import constants, errors

    api, role = _api(), ""
    try:
        role = _role(api.whoami())
        known = api.repo_info(push.repo, repo_type="model")
    except errors.RepositoryNotFoundError:
        known = None
    except (OSError, ValueError) as error:
        raise HarnessError(_explained(error, push, "nothing was done yet")) from error
    if role == "read":
        raise HarnessError(
            f"the token may only read at {constants.ENDPOINT}; make one that may write, and set HF_TOKEN"
        )
    if known is None:
        return
    if bool(known.private) == push.public:
        state, wanted = ("private", "public") if push.public else ("public", "private")
        raise HarnessError(
            f"{push.repo} is {state} already, and was to be {wanted}: change that in its settings on "
            f"{constants.ENDPOINT}, {'leave out' if push.public else 'pass'} --public, or name another"
        )
    files = {file.rfilename for file in known.siblings or ()} - set(OF_THE_HUB)
    if files and not any(name.startswith(f"{evidence}/") for name in files):
        raise HarnessError(
            f"{push.repo} holds other files ({', '.join(sorted(files)[:3])}), which this would replace; name another"
        )


def upload(push: Push, folder: Path, message: str) -> str:
    """Make the repository hold what `folder` holds, and nothing else, in one commit; returns that commit's address."""
    api = _api()
    try:
        api.create_repo(push.repo, private=not push.public, repo_type="model", exist_ok=True)
        # In one step, what an earlier model left there included: readers see the old one or this one.
        done = api.upload_folder(
            repo_id=push.repo, folder_path=folder, commit_message=message, delete_patterns="*", repo_type="model"
        )
    except (OSError, ValueError, RuntimeError) as error:
        unchanged = (
            f"{push.repo} holds what it held, or all of this if only the answer was lost, and {folder} is whole; run "
            "the same command again: what has arrived is not sent twice"
        )
        raise HarnessError(_explained(error, push, unchanged)) from error
    return str(done.commit_url)


def _api() -> HfApi:
    """With the user's token; HarnessError if there is none."""
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise HarnessError("HF_HUB_OFFLINE is set, and --push needs the Hub; unset it, or leave out --push")
    token = get_token()
    if token is None:
        raise HarnessError("--push needs a token that may write: run hf auth login, or set HF_TOKEN; nothing was done")
    return HfApi(endpoint=constants.ENDPOINT, token=token)


def _role(known: dict[str, Any]) -> str:
    """What the token is for: `read`, `write`, `fineGrained`, or unknown."""
    return str(known.get("auth", {}).get("accessToken", {}).get("role", ""))


def _explained(error: BaseException, push: Push, state: str) -> str:
    """What went wrong, how things stand now, and what to do. No secret is in it."""
    from huggingface_hub import constants, get_token

    while getattr(error, "response", None) is None and error.__cause__ is not None:
        error = error.__cause__  # of an upload in a thread, the reason
    status = getattr(getattr(error, "response", None), "status_code", None)
    match status:
        case 401:
            why = "the token is not accepted (401): run hf auth login, or set HF_TOKEN to one that is"
        case 403:
            why = f"the token may not write to {push.repo} (403): give it that right, or name another repository"
        case 429:
            why = "the Hub asks for fewer requests (429): wait some minutes"
        case None:
            why = f"no complete answer from {constants.ENDPOINT} ({type(error).__name__}: {inert(str(error))})"
        case _:
            why = f"the Hub failed with status {status}: {inert(str(error))}"
    return redact_secrets(redact_secrets(f"{push.repo}: {why}; {state}"), {"HF_TOKEN": get_token() or ""})
