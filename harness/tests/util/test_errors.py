"""Errors are described with their cause, briefly where a sentence quotes them."""

import pytest

from harness.errors import BRIEF, brief_error, describe_error
from harness.util.text import error_text


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


ROOT = ValueError("line 7: bad quote\nand more")
CHAIN = caused(RuntimeError("could not generate"), caused(OSError("wrapped"), ROOT))


def test_root_cause_is_described():
    assert "RuntimeError: could not generate\n  caused by ValueError: line 7: bad quote\nand more" == describe_error(
        CHAIN
    )


def test_brief_error_is_one_line():
    assert "RuntimeError: could not generate; caused by ValueError: line 7: bad quote" == brief_error(CHAIN)


def test_cause_that_is_quoted_already_is_not_repeated():
    error = caused(OSError("cannot read: no such column"), KeyError("no such column"))
    assert "OSError: cannot read: no such column" == describe_error(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("ernie is not supported"), "KeyError: ernie is not supported"),
        (KeyError("key"), "KeyError: 'key'"),
        (ValueError("x" * 2000), f"ValueError: {'x' * (BRIEF - 12)} …"),
        (ValueError(""), "ValueError:"),
        (Unreadable(), "Unreadable, whose message cannot be read: ValueError"),
    ],
)
def test_brief_error_of_any_exception(error, text):
    assert text == brief_error(error)


def test_circle_of_causes_ends():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "first" in describe_error(first)


def test_long_error_keeps_its_first_and_last_lines():
    with pytest.raises(ValueError, match="line") as caught:
        raise ValueError("\n".join(f"line {number}" for number in range(100)))
    lines = error_text(caught.value).split("\n")
    assert ["ValueError: line 0", "… (85 more lines)", "line 99"] == [lines[0], lines[12], lines[-2]]
    assert "raised at test_errors.py" in lines[-1]
