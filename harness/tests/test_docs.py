"""The documents say what the code does: their examples compile, their imports, options and commands exist."""

import ast
import contextlib
import importlib
import io
import re
import shlex
from pathlib import Path

import pytest
import yaml

from conftest import REPOSITORY
from harness.commands import cli
from harness.pytest_plugin import options

DOCUMENTS = sorted(
    path
    for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/*.md"), *REPOSITORY.glob("harness/*/README.md"))
    if path.name not in ("CHANGELOG.md", "LOG.md", "comparison.md")
)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


PYTHON = [
    pytest.param(code, id=f"{name(path)}-{at}") for path in DOCUMENTS for at, code in enumerate(blocks(path, "python"))
]
SHELL = [line for path in DOCUMENTS for code in blocks(path, "sh") for line in code.replace("\\\n", " ").splitlines()]
COMMANDS = sorted(
    {part.strip() for line in SHELL for part in re.split(r"&&|\|", line) if part.strip().startswith("shipbench ")}
)


WORKFLOWS = [yaml.safe_load(code) for path in DOCUMENTS for code in blocks(path, "yaml")]
STEPS = [step for workflow in WORKFLOWS for job in workflow["jobs"].values() for step in job["steps"]]
OPTIONS = re.compile(r"--ship-[a-z-]*[a-z]")


def test_workflows_have_jobs_that_run_and_need_each_other() -> None:
    assert 2 == len(WORKFLOWS)
    for workflow in WORKFLOWS:
        assert True in workflow or "on" in workflow  # YAML 1.1 reads `on` as a boolean
        assert {job.get("needs") for job in workflow["jobs"].values()} <= {None, *workflow["jobs"]}
    assert all(("run" in step) != ("uses" in step) for step in STEPS)


def test_commands_of_workflows_parse() -> None:
    lines = [line.strip() for step in STEPS for line in step.get("run", "").splitlines()]
    commands = [re.split(r"[|>]", line)[0].strip() for line in lines if line.startswith("shipbench ")]
    assert {"merge", "report"} <= {command.split()[1] for command in commands}
    for command in commands:
        assert 0 == _parse(shlex.split(command)[1:]), command


@pytest.mark.parametrize("code", PYTHON)
def test_python_example_compiles_and_imports_what_exists(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "harness":
            module = importlib.import_module(node.module)
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_mentioned_options_exist(path: Path) -> None:
    declared = set()
    options.declare(lambda *flags, **_: declared.update(flags))
    mentioned = set(OPTIONS.findall(path.read_text()))
    assert mentioned <= declared | {"--ship"}


@pytest.mark.parametrize("command", COMMANDS)
def test_mentioned_command_parses(command: str) -> None:
    words = shlex.split(re.sub(r"[\[\]]", "", command), comments=True)[1:]
    with contextlib.redirect_stdout(io.StringIO()):
        status = _parse(words)
    assert status == 0


def _parse(words: list[str]) -> object:
    try:
        cli.parser(words).parse_args(words)
    except SystemExit as ended:  # --help ends with 0
        return ended.code
    return 0
