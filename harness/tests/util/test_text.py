"""Secrets of the environment never reach a text that is kept."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.commands.cli import main
from harness.util.text import REDACTED, error_text, redact_secrets

VALUES = st.text(st.characters(categories=["L", "N"]), min_size=8, max_size=20)


@given(VALUES, st.text(), st.text())
def test_secret_is_removed_wherever_it_stands(value, before, after):
    text = redact_secrets(f"{before}{value}{after}", {"HF_TOKEN": value})
    assert value not in text or value in REDACTED


@given(st.text(max_size=50))
def test_other_variables_change_nothing(text):
    assert text == redact_secrets(text, {"HOME": text, "EDITOR": "12345678"})


def test_longer_secret_is_removed_first():
    secrets = {"A_TOKEN": "12345678", "B_TOKEN": "1234567890"}
    assert f"x {REDACTED} y {REDACTED}" == redact_secrets("x 1234567890 y 12345678", secrets)


def test_error_text_holds_no_secret(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "sesame-open-42")
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("https://host/?key=sesame-open-42 is gone")
    assert f"key={REDACTED} is gone" in error_text(caught.value)


def test_terminal_without_the_characters_escapes_them(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stderr", stream)
    assert 4 == main(["hash", "größe-package", "x"])
    stream.flush()
    assert rb"error: gr\xf6\xdfe-package is not installed" in stream.buffer.getvalue()
