"""Publishing to a small Hub: private by default, in one commit, and never over somebody's files."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shop
from toy_hub import COMMIT, server

from conftest import REPOSITORY
from harness.commands.cli import main
from harness.util.identity import file_sha256

__all__ = ["server"]
TOKEN, READER = "hf_toysMayWrite", "hf_toysMayRead"
REPO = "toys/published"


@pytest.fixture
def hub(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.tokens = {TOKEN: "write", READER: "read"}
    return server


def environment(hub):
    """The environment of a process that uses this Hub."""
    own = {"PYTHONPATH": str(REPOSITORY), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
    return os.environ | own


def command(folder, case=shop.CASE):
    return ["publish", case, "--to", str(folder / "out"), *shop.options(folder), "--push", REPO]


def push(folder, *options, case=shop.CASE):
    return main([*command(folder, case), *options])


def files(folder: Path) -> dict[str, bytes]:
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in contents.items() if name != ".gitattributes"}


def newest(hub):
    """The files of the newest commit."""
    repository = hub.repositories["model", REPO]
    return {name: one for name, one in repository.commits[repository.resolve("main")].items() if name[:4] != ".git"}


def test_pushed_folder_downloads_unchanged_and_is_private(hub, tmp_path, capsys):
    shop.stock(tmp_path)
    assert 0 == push(tmp_path)
    assert hub.repositories["model", REPO].private
    assert f"{hub.endpoint}/{REPO}/commit/" in capsys.readouterr().out
    fetch = f"import huggingface_hub as hub; print(hub.snapshot_download({REPO!r}))"
    done = subprocess.run(
        [sys.executable, "-c", fetch], env=environment(hub), check=True, capture_output=True, text=True
    )
    back = Path(done.stdout.strip())
    assert files(tmp_path / "out") == files(back)
    assert f"path = snapshot_download({REPO!r})" in (back / "README.md").read_text()


def test_public_option_makes_the_repository_public(hub, tmp_path):
    shop.stock(tmp_path)
    assert 0 == push(tmp_path, "--public")
    assert not hub.repositories["model", REPO].private


@pytest.mark.parametrize("public", [True, False])
def test_repository_of_other_visibility_is_left_alone(hub, tmp_path, capsys, public):
    shop.stock(tmp_path)
    hub.put("model", REPO, COMMIT, {}).private = public
    assert 4 == push(tmp_path, *(["--public"] if public else []))
    assert f"{REPO} is {'private, not public' if public else 'public, not private'}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_repository_with_other_files_is_left_alone(hub, tmp_path, capsys):
    shop.stock(tmp_path)
    hub.put("model", REPO, COMMIT, {"weights.bin": b"years of work"}).private = True
    assert 4 == push(tmp_path)
    assert "holds other files (weights.bin), which this would replace" in capsys.readouterr().err
    assert {"weights.bin": b"years of work"} == newest(hub)


def test_second_case_replaces_all_files_of_the_first(hub, tmp_path):
    shop.stock(tmp_path)
    assert 0 == push(tmp_path)
    (tmp_path / "out").rename(tmp_path / "first")
    assert 0 == push(tmp_path, "--anyway", case=shop.REFERENCE_CASE)
    assert files(tmp_path / "out") == newest(hub)
    assert "onnx/model.onnx" not in newest(hub)


def test_missing_token_is_refused_without_a_request(hub, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    requests = len(hub.asked)
    assert 4 == push(tmp_path, case="of/nothing.at-all.cpu")
    assert "--push needs a token that may write: run hf auth login, or set HF_TOKEN" in capsys.readouterr().err
    assert requests == len(hub.asked)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("token", "message"), [("hf_nobodysToken", "the token is not accepted (401)"), (READER, "the token is read-only")]
)
def test_unfit_token_is_refused_before_any_work(hub, tmp_path, capsys, monkeypatch, token, message):
    shop.stock(tmp_path)
    monkeypatch.setenv("HF_TOKEN", token)
    assert 4 == push(tmp_path)
    output = capsys.readouterr()
    assert message in output.err
    assert token not in output.err + output.out
    assert not (tmp_path / "out").exists()
    assert ("model", REPO) not in hub.repositories


@pytest.mark.parametrize("case", [shop.SLOWER_CASE, shop.REFERENCE_CASE])
def test_case_that_may_not_ship_needs_anyway(hub, tmp_path, capsys, case):
    shop.stock(tmp_path)
    assert 4 == push(tmp_path, case=case)
    assert "--anyway" in capsys.readouterr().err
    assert ("model", REPO) not in hub.repositories
    assert not (tmp_path / "out").exists()
    assert 0 == push(tmp_path, "--anyway", case=case)


def test_recommended_reference_is_pushed(hub, tmp_path):
    shop.stock(tmp_path, only_slower=True)
    assert 0 == push(tmp_path, case=shop.REFERENCE_CASE)


def test_busy_hub_is_explained(hub, tmp_path, capsys):
    shop.stock(tmp_path)
    hub.trouble, hub.trouble_at = "429", "/commit/main"
    assert 4 == push(tmp_path)
    assert "the Hub asks for fewer requests (429)" in capsys.readouterr().err


def test_unreachable_hub_is_explained(hub, tmp_path, capsys, monkeypatch):
    shop.stock(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert 4 == push(tmp_path)
    assert "no complete answer from http://127.0.0.1:9 (ConnectError" in capsys.readouterr().err


def test_killed_upload_is_finished_by_the_same_command(hub, tmp_path):
    shop.stock(tmp_path)
    graph = file_sha256(next((tmp_path / "artifacts").rglob("onnxruntime-0*/model.onnx")))
    hub.trouble, hub.trouble_at = "silent", f"/lfs/{graph}"
    line = [sys.executable, "-m", "harness", *command(tmp_path)]
    with subprocess.Popen(line, env=environment(hub)) as process:
        while f"PUT /lfs/{graph}" not in hub.asked or len(hub.objects) < 1:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert {} == newest(hub)
    assert 1 == len(hub.objects)  # the weights, which no commit holds yet
    hub.trouble, earlier = "", len(hub.asked)
    assert 0 == subprocess.run(line, env=environment(hub), check=False).returncode
    assert files(tmp_path / "out") == newest(hub)
    assert [f"PUT /lfs/{graph}"] == [request for request in hub.asked[earlier:] if request.startswith("PUT")]


def test_token_reaches_no_file_and_no_line(hub, tmp_path):
    shop.stock(tmp_path)
    for trouble in ("500", ""):
        hub.trouble, hub.trouble_at = trouble, "/commit/main"
        line = [sys.executable, "-m", "harness", *command(tmp_path)]
        done = subprocess.run(line, env=environment(hub), check=False, capture_output=True)
        assert (4 if trouble else 0) == done.returncode, done.stderr
        assert TOKEN.encode() not in done.stdout + done.stderr
    for contents in (files(tmp_path), newest(hub)):
        assert all(TOKEN.encode() not in content for content in contents.values())
