"""Why nothing could be brought from the Hub, in a sentence that says what to do."""

from __future__ import annotations

import re

from huggingface_hub import constants, errors

from harness.origins.lock import Sort


class Refused(Exception):
    """What is there is not what was asked for."""


def explain(error: Exception, sort: Sort, repo: str, revision: str) -> str:
    """What went wrong, and what to do."""
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # that it is not in the cache either is not why it was asked for
    page = f"{constants.ENDPOINT}/{'datasets/' if sort == 'dataset' else ''}{repo}"
    match error:
        case Refused():
            return str(error)
        case errors.GatedRepoError():
            return f"it is gated: accept its terms at {page}, and set HF_TOKEN to a token of that account"
        case errors.RepositoryNotFoundError():
            return f"there is no {page}, or it is private and HF_TOKEN is not set to a token that may read it"
        case errors.RevisionNotFoundError():
            return f"it has no commit {revision}; see {page}/commits/main, then mend the pin or hub.lock"
        case errors.EntryNotFoundError():
            return f"a file is missing at commit {revision}: {inert(str(error))}"
    answer = getattr(error, "response", None)
    if answer is not None:
        return _of_status(answer.status_code)
    return _of_network(error) if isinstance(error, OSError) else f"{type(error).__name__}: {inert(str(error))}"


def _of_status(status: int) -> str:
    match status:
        case 401:
            return "HF_TOKEN is not accepted (401); renew it, or unset it for a public repository"
        case 403:
            return "HF_TOKEN may not read it (403); give the token that right, or take another account's"
        case 429:
            return "the Hub asks for fewer requests (429); wait some minutes, or set HF_TOKEN, which may ask more often"
        case _:
            return f"the Hub failed with status {status}; try again later, nothing that is complete is fetched twice"


def _of_network(error: Exception) -> str:
    first = inert(str(error))
    return (
        f"no complete answer from {constants.ENDPOINT} ({type(error).__name__}: {first}); check the network, and run "
        "again: nothing that is complete is fetched twice"
    )


def inert(text: str) -> str:
    """Someone else's words, short and on one line, without what follows an address: it may be signed with a secret."""
    return re.sub(r"\?[^\s'\")]+", "?…", " ".join(text.split()))[:300]
