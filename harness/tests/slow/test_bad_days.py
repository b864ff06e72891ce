"""The Hub's bad days: each ends with its cause, takes no other revision instead, and leaves nothing wrong behind."""

from pathlib import Path

import pytest
from toy_hub import COMMIT, MODEL, server

from harness.errors import HarnessError
from harness.origins import hub
from harness.origins.sources import Hub

__all__ = ["server"]  # a fixture

BERT = Hub("toys/bert", revision=COMMIT)


def refusal(folder: Path) -> str:
    with pytest.raises(HarnessError) as caught:
        hub.fetch(BERT, "model", folder)
    return str(caught.value)


TROUBLES = {
    "429": "429",
    "500": "500",
    "reset": "Connection aborted",
    "truncated": "no complete answer from",
    "wrong-hash": "arrived with another content than the Hub says",
    "endless": "nothing arrived for 20 s; check the network",
    "more": "the Hub sends more than",
    "silent": "nothing arrived for 20 s; check the network",
}


@pytest.mark.parametrize(
    ("trouble", "at"),
    [
        *((trouble, "/resolve/") for trouble in TROUBLES),
        *((trouble, "/api/") for trouble in ("429", "500", "reset", "silent")),
    ],
)
def test_every_bad_day_ends_with_its_cause(trouble, at, server, tmp_path):
    server.trouble, server.trouble_at = trouble, at
    told = "ReadTimeout" if (trouble, at) == ("silent", "/api/") else TROUBLES[trouble]
    assert told in refusal(tmp_path)
    server.trouble = ""
    hub.tried.cache_clear()
    folder = hub.fetch(BERT, "model", tmp_path)  # nothing wrong was kept
    assert MODEL["model.safetensors"] == (folder / "model.safetensors").read_bytes()
