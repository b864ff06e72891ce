"""Secrets of the environment: gone from what is written, whatever they are and wherever they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.pipeline.stages import Stopped, stage
from harness.util.text import GONE, redact_secrets

VALUES = st.text(st.characters(categories=["L", "N"]), min_size=8, max_size=20)


@given(VALUES, st.text(), st.text())
def test_a_secret_is_nowhere(value, before, after):
    found = redact_secrets(f"{before}{value}{after}", {"HF_TOKEN": value})
    assert value not in found or value in GONE


@given(st.text(max_size=50))
def test_other_variables_change_nothing(text):
    assert text == redact_secrets(text, {"HOME": text, "EDITOR": "12345678"})


def test_of_two_secrets_the_longer_goes_first():
    known = {"A_TOKEN": "12345678", "B_TOKEN": "1234567890"}
    assert f"x {GONE} y {GONE}" == redact_secrets("x 1234567890 y 12345678", known)


def test_a_failure_on_record_holds_no_secret(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "sesame-open-42")
    with pytest.raises(Stopped) as caught, stage("build"):
        raise RuntimeError("https://host/?key=sesame-open-42 is gone")
    assert f"key={GONE} is gone" in caught.value.failure.message
