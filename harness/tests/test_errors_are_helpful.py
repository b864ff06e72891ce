"""Every error that a user may see has a value in it and says what to do next."""

import ast
import re
from pathlib import Path

import pytest

import harness

NEXT_STEP = re.compile(
    r";|: (run|give|define|delete|add|use|write|name|pin|correct|change|remove)\b|"
    r"\b(expected|must|needs?|choose|add|leave out|ask for|give|at most|at least|takes|is called|is named|reads|"
    r"such as|trains with)\b"
)
"""Words by which a message says what would be right."""
NAME = re.compile(r"\{\w*\}|\w\.\w|--\w|\w=|\w\(|[A-Z]+_[A-Z]+|onnxruntime")
"""A value, or the name of an option, an argument, a variable, a file or a package."""
COMPOSED = re.compile(r"\{(problem|advice|expected|hint|unknown)\}$")
"""The end of a message whose next step comes from elsewhere."""
ALLOWED = {
    "pipeline/finals.py": "reasons why finals are not held, for the summary",
    "pytest_plugin/resume.py": "reasons why a comparison is measured again, which it is",
}
"""Modules whose errors end as something else, and as what."""


def messages(path):
    """Yield the line and the text of each error's message, with `{name}` for a value; a computed one has none."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "HarnessError" and node.args:
            text = text_of(node.args[0])
            if text is not None:
                yield node.lineno, text


def text_of(node):
    """Return the text of a string or f-string, `{name}` standing for a value; None for any other expression."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(map(text_of, values))
        case ast.FormattedValue(value=ast.Name(id=name) | ast.Call(func=ast.Name(id=name))):
            return f"{{{name}}}"
        case ast.FormattedValue():
            return "{}"
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return f"{text_of(left) or '{}'}{text_of(right) or '{}'}"
    return None


def poor_messages(folder):
    """Yield the place and text of the messages without a value or without a next step.

    A message of values alone, such as `{path}: {problem}`, is composed elsewhere.
    """
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        for line, text in () if name.startswith(("tests/", "selftest/")) or name in ALLOWED else messages(path):
            rest = re.sub(r"^(task|model|backend) |\{\w*\}", "", text)
            is_composed = COMPOSED.search(text) or not re.search("[a-z]", rest)
            if not is_composed and not (NAME.search(text) and NEXT_STEP.search(text)):
                yield f"{name}:{line}: {text}"


def test_errors_have_a_value_and_a_next_step():
    assert [] == list(poor_messages(Path(harness.__file__).parent))


@pytest.mark.parametrize(
    ("code", "poor"),
    [
        ('raise HarnessError(f"{path}: no rows; add some")', False),
        ('raise HarnessError(f"task {name}: test={test} must be positive")', False),
        ('raise HarnessError(f"{path} is gone")', True),
        ('raise HarnessError("no rows; add some")', True),
        ("raise HarnessError(message)", False),
        ('raise HarnessError(f"task {name}: {problem}")', False),
    ],
)
def test_poor_messages_are_detected(code, poor, tmp_path):
    (tmp_path / "toy.py").write_text(code)
    assert poor == bool(list(poor_messages(tmp_path)))
