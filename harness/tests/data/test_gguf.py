"""Models in GGUF are converted once, by Transformers, and refused in words where that cannot be."""

from pathlib import Path

import pytest

from harness.contracts.sources import Package
from harness.data import gguf, reading
from harness.errors import HarnessError


@pytest.fixture(autouse=True)
def _assets(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))


def test_file_is_converted_once(monkeypatch, tmp_path):
    made: list[Path] = []

    def save(file: Path, out: Path) -> None:
        made.append(file)
        out.mkdir()
        (out / "config.json").write_text("{}")

    monkeypatch.setattr(gguf, "_save", save)
    monkeypatch.setattr(gguf, "missing_module", lambda *_: None)
    monkeypatch.setattr(reading, "locate", lambda _: tmp_path / "tiny.gguf")
    source = Package("tiny", "tiny.gguf", sha256="00")
    folders = [reading.pretrained(source, tmp_path) for _ in range(2)]
    assert [tmp_path / "tiny.gguf"] == made
    assert folders[0] == folders[1]
    assert ["config.json"] == [file.name for file in folders[0].iterdir()]


def test_missing_reader_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(gguf, "missing_module", lambda name, _: f"{name} is not installed")
    with pytest.raises(HarnessError, match=r"tiny.gguf is in GGUF: gguf is not installed"):
        gguf.convert(tmp_path / "tiny.gguf", "00")


def test_file_of_another_format_is_refused(tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "tiny.gguf").write_bytes(b"no such format" * 9)
    with pytest.raises(HarnessError, match="Transformers reads no model from it"):
        gguf.convert(tmp_path / "tiny.gguf", "00")
