"""A published demo as a person meets it: in Chromium without a window, with what was measured and with bad input."""

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
def hook(event, given):
    if event in ("socket.connect", "socket.getaddrinfo"):
        host = given[1][0] if event == "socket.connect" and isinstance(given[1], tuple) else given[0]
        if isinstance(host, (str, bytes)):
            with open(os.environ["ASKED_HOSTS"], "a") as file:
                print(host if isinstance(host, str) else host.decode(), file=file)
sys.addaudithook(hook)
"""
HERE = {"127.0.0.1", "localhost", "::1", "0.0.0.0"}  # noqa: S104  # names of this machine


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def served(measured, installed, tmp_path, monkeypatch):  # noqa: F811
    """Publishes a case with its demo and runs that, in a process of its own that knows nothing of the harness."""
    toy, run = measured
    assert 0 == run.status, run.text
    monkeypatch.chdir(toy.folder)
    monkeypatch.syspath_prepend(str(installed))
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    started = []

    def serve(case):
        folder = tmp_path / "published"
        assert 0 == main(["publish", case, "--to", str(folder), "--demo", "--ship-artifacts", str(toy.artifacts)])
        port, hosts, log = free_port(), tmp_path / "hosts", (tmp_path / "log").open("w")
        env = os.environ | {
            "PYTHONPATH": str(tmp_path / "watch"),
            "ASKED_HOSTS": str(hosts),
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_TEMP_DIR": str(tmp_path / "gradio"),
        }
        app = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=env, stdout=log, stderr=log)
        started.append(app)
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
    for app in started:
        app.terminate()
        app.wait(30)


def opened(browser, demo):  # noqa: F811
    """The page; what it asked of others, and what it complained of."""
    view, others = browser.new_page(), []
    view.on("request", lambda asked: others.append(asked.url) if not own(asked.url, demo.url) else None)
    view.on("pageerror", lambda error: others.append(str(error)))
    view.goto(demo.url)
    view.get_by_role("button", name="Answer").wait_for()
    return view, others


def own(address, url):
    return address.startswith((url, "data:", "blob:"))


def ask(view, backends):
    """Ask for the first time on this page, and wait for each backend's likeliest label."""
    view.get_by_role("button", name="Answer").click()
    said = view.get_by_test_id("label-output-value")
    for place, name in enumerate(backends):
        said.nth(place).wait_for()
        assert re.fullmatch(r"\d+\.\d\d ms", view.get_by_label(f"{name}: time of one call").input_value())
    assert len(backends) == said.count()
    return [one.strip() for one in said.all_inner_texts()]


def recorded(demo):
    """What the measurement answered, row by row."""
    return pd.read_parquet(demo.toy.folder / "results" / "local" / f"{demo.result.name}.parquet")


@pytest.mark.parametrize("case", ["toy/bag.onnxruntime.cpu", "tickets/mine.onnxruntime-int8.cpu"])
def test_texts_are_answered_by_both_as_measured_and_hostile_ones_run_nothing(browser, served, case):  # noqa: F811
    demo = served(case)
    backends = [demo.result.backend, "pytorch"]
    known = rows(demo.toy, demo.result)
    table = recorded(demo)
    asked = [*known[:3], *([text] * len(known[0]) for text in HOSTILE.values())]
    said = []
    for texts in asked:
        view, others = opened(browser, demo)
        for place, text in enumerate(texts):
            view.locator("textarea:not([disabled])").nth(place).fill(text)
        said.append(ask(view, backends))
        assert f"{demo.result.model} for {demo.result.task}" == view.title()
        assert [] == others
        view.close()
    if "prediction" in table:
        assert table[["prediction", "reference"]].head(3).to_numpy().tolist() == said[:3]
    assert {one for pair in said for one in pair} <= set(demo.result.data.labels)
    assert set(demo.hosts.read_text().split()) <= HERE


@pytest.mark.parametrize("text", ["", "   \n "])
def test_nothing_is_refused_in_words(browser, served, text):  # noqa: F811
    demo = served("toy/bag.onnxruntime.cpu")
    view, others = opened(browser, demo)
    view.locator("textarea:not([disabled])").first.fill(text)
    view.get_by_role("button", name="Answer").click()
    view.get_by_text("Write something first.").first.wait_for()
    assert 0 == view.get_by_test_id("label-output-value").count()
    assert [] == others
    view.close()


def test_an_image_is_answered_by_both_as_measured_in_any_form(browser, served, tmp_path):  # noqa: F811
    demo = served("digits/vit.onnxruntime.cpu")
    view, others = opened(browser, demo)
    view.get_by_role("button", name="Answer").click()
    view.get_by_text("Choose an image first.").first.wait_for()
    view.close()
    (tmp_path / "none.png").write_text("<script>document.title='gotcha'</script>")
    view, _ = opened(browser, demo)
    view.locator("input[type=file]").first.set_input_files(tmp_path / "none.png")
    view.get_by_label("Remove Image").first.wait_for()
    view.get_by_role("button", name="Answer").click()
    view.get_by_text("cannot identify image file").first.wait_for()
    assert "gotcha" != view.title()
    view.close()
    pixels = np.asarray(rows(demo.toy, demo.result)[0][0], dtype=np.uint8)[:, :, 0]
    given = {
        "as it was": Image.fromarray(pixels),
        "in colour": Image.fromarray(np.stack([pixels] * 3, axis=2)),
        "large": Image.fromarray(pixels).resize((900, 700), Image.Resampling.NEAREST),
    }
    expected = recorded(demo)[["prediction", "reference"]].iloc[0].tolist()
    for name, image in given.items():
        image.save(tmp_path / f"{name}.png")
        view, asked = opened(browser, demo)
        others += asked
        view.locator("input[type=file]").first.set_input_files(tmp_path / f"{name}.png")
        view.get_by_label("Remove Image").first.wait_for()
        said = ask(view, ["onnxruntime", "pytorch"])
        assert set(said) <= set(demo.result.data.labels)
        assert name == "large" or said == expected  # what is made smaller need not be the very same again
        view.close()
    assert [] == others
    assert set(demo.hosts.read_text().split()) <= HERE
