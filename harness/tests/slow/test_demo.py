"""A published demo in a headless Chromium, with measured rows and with bad input."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_page_in_browser import CHROMIUM, browser  # noqa: F401  # a fixture
from test_published_models import measured, rows  # noqa: F401  # likewise

from harness.commands.cli import main

pytest_plugins = "pytester"
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's chromium, or name one in CHROMIUM"),
    pytest.mark.skipif(find_spec("gradio") is None, reason='no gradio: pip install -e ".[cpu,demo]"'),
]
HOSTILE = {
    "markup": "<img src=x onerror=document.title='gotcha'><script>document.title='gotcha'</script>",
    "very long": "word " * 100_000,
    "template": "{{7*7}} ${7*7} \x00 \u202e \U0001f600 %s",
}
WATCH = """
import os, sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        host = arguments[1][0] if event == "socket.connect" and isinstance(arguments[1], tuple) else arguments[0]
        if isinstance(host, (str, bytes)):
            with open(os.environ["CONTACTED_HOSTS"], "a") as file:
                print(host if isinstance(host, str) else host.decode(), file=file)
sys.addaudithook(hook)
"""
HERE = {"127.0.0.1", "localhost", "::1", "0.0.0.0"}  # noqa: S104  # names of this machine


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def served(measured, installed, tmp_path, monkeypatch):  # noqa: F811
    """Publish a case with its demo and run that in a process of its own, without the harness."""
    toy, run = measured
    assert 0 == run.status, run.text
    monkeypatch.chdir(toy.folder)
    monkeypatch.syspath_prepend(str(installed))
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    apps = []

    def serve(case):
        folder = tmp_path / "published"
        assert 0 == main(
            ["publish", case, "--to", str(folder), "--demo", "--anyway", "--ship-artifacts", str(toy.artifacts)]
        )
        port, hosts, log = free_port(), tmp_path / "hosts", (tmp_path / "log").open("w")
        env = os.environ | {
            "PYTHONPATH": str(tmp_path / "watch"),
            "CONTACTED_HOSTS": str(hosts),
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_TEMP_DIR": str(tmp_path / "gradio"),
        }
        app = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=env, stdout=log, stderr=log)
        apps.append(app)
        url = f"http://127.0.0.1:{port}/"
        for _ in range(240):
            assert app.poll() is None, (tmp_path / "log").read_text()
            try:
                urllib.request.urlopen(url).close()
            except OSError:
                time.sleep(0.5)
            else:
                return SimpleNamespace(url=url, hosts=hosts, toy=toy, result=toy.results[case], folder=folder)
        raise AssertionError((tmp_path / "log").read_text())

    yield serve
    for app in apps:
        app.terminate()
        app.wait(30)


def opened(browser, demo):  # noqa: F811
    """Return the page, and a list of its requests to others and of its errors."""
    page, problems = browser.new_page(), []
    own = (demo.url, "data:", "blob:")
    page.on("request", lambda request: problems.append(request.url) if not request.url.startswith(own) else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(demo.url)
    page.get_by_role("button", name="Answer").wait_for()
    return page, problems


def ask(page, backends):
    """Press the button for the first time, and return each backend's likeliest label."""
    page.get_by_role("button", name="Answer").click()
    labels = page.get_by_test_id("label-output-value")
    for place, name in enumerate(backends):
        labels.nth(place).wait_for()
        assert re.fullmatch(r"\d+\.\d\d ms", page.get_by_label(f"{name}: time of one call").input_value())
    assert len(backends) == labels.count()
    return [label.strip() for label in labels.all_inner_texts()]


def recorded(demo):
    """The recorded answers, row by row."""
    return pd.read_parquet(demo.toy.folder / "results" / "local" / f"{demo.result.name}.parquet")


@pytest.mark.parametrize("case", ["toy/bag.onnxruntime.cpu", "tickets/mine.onnxruntime-int8.cpu"])
def test_texts_are_answered_as_measured_and_hostile_ones_are_harmless(browser, served, case):  # noqa: F811
    demo = served(case)
    test_rows, table = rows(demo.toy, demo.result), recorded(demo)
    answers = []
    for texts in [*test_rows[:3], *([text] * len(test_rows[0]) for text in HOSTILE.values())]:
        page, problems = opened(browser, demo)
        for place, text in enumerate(texts):
            page.locator("textarea:not([disabled])").nth(place).fill(text)
        answers.append(ask(page, [demo.result.backend, "pytorch"]))
        assert f"{demo.result.model} for {demo.result.task}" == page.title()
        assert [] == problems
        page.close()
    if "prediction" in table:
        assert table[["prediction", "reference"]].head(3).to_numpy().tolist() == answers[:3]
    assert {label for pair in answers for label in pair} <= set(demo.result.data.labels)
    assert set(demo.hosts.read_text().split()) <= HERE


@pytest.mark.parametrize("text", ["", "   \n "])
def test_empty_text_is_refused(browser, served, text):  # noqa: F811
    page, problems = opened(browser, served("toy/bag.onnxruntime.cpu"))
    page.locator("textarea:not([disabled])").first.fill(text)
    page.get_by_role("button", name="Answer").click()
    page.get_by_text("Write something first.").first.wait_for()
    assert 0 == page.get_by_test_id("label-output-value").count()
    assert [] == problems
    page.close()


def test_images_of_any_mode_and_size_are_answered_as_measured(browser, served, tmp_path):  # noqa: F811
    demo = served("digits/vit.onnxruntime.cpu")
    page, _ = opened(browser, demo)
    page.get_by_role("button", name="Answer").click()
    page.get_by_text("Choose an image first.").first.wait_for()
    page.close()
    (tmp_path / "none.png").write_text("<script>document.title='gotcha'</script>")
    page, _ = opened(browser, demo)
    page.locator("input[type=file]").first.set_input_files(tmp_path / "none.png")
    page.get_by_label("Remove Image").first.wait_for()
    page.get_by_role("button", name="Answer").click()
    page.get_by_text("cannot identify image file").first.wait_for()
    assert "gotcha" != page.title()
    page.close()
    pixels = np.asarray(rows(demo.toy, demo.result)[0][0], dtype=np.uint8)[:, :, 0]
    images = {
        "as measured": Image.fromarray(pixels),
        "in colour": Image.fromarray(np.stack([pixels] * 3, axis=2)),
        "large": Image.fromarray(pixels).resize((900, 700), Image.Resampling.NEAREST),
    }
    expected = recorded(demo)[["prediction", "reference"]].iloc[0].tolist()
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
        page, problems = opened(browser, demo)
        page.locator("input[type=file]").first.set_input_files(tmp_path / f"{name}.png")
        page.get_by_label("Remove Image").first.wait_for()
        answers = ask(page, ["onnxruntime", "pytorch"])
        assert set(answers) <= set(demo.result.data.labels)
        assert name == "large" or answers == expected  # shrinking need not give the same pixels again
        assert [] == problems
        page.close()
    assert set(demo.hosts.read_text().split()) <= HERE
