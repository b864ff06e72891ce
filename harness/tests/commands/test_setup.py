"""`shipbench setup`: Optimum's overlay, installed ahead."""

import pytest

from harness.commands import cli
from harness.environments.interpreters import FOLDER


def test_setup_says_what_lies_where(capsys):
    assert 0 == cli.main(["setup"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("huggingface-hub 0.36.2, optimum 2.1.0, optimum-onnx 0.1.0, tokenizers 0.22.2, transformers")
    assert "overlay-" in line


def test_setup_without_an_index_says_where_to_run_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert 4 == cli.main(["setup"])
    error = capsys.readouterr().err
    assert "where pip reaches an index (python -m pip config list names it), run once: shipbench setup" in error


@pytest.mark.parametrize("option", ["--ship-artifacts", "-h"])
def test_setup_documents_its_options(option, capsys):
    with pytest.raises(SystemExit):
        cli.main(["setup", "--help"])
    assert option in capsys.readouterr().out
