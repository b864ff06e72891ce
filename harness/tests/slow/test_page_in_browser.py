"""The page in headless Chromium: no requests, accessible, usable by mouse and keyboard."""

import os
import shutil
from dataclasses import replace

import factory
import pytest
from factory import comparison
from runs import drawn, run

from harness.regression.history import Commit, History, key_of, point_of
from harness.report import history
from harness.report.page import page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: install Debian's chromium, or name one in CHROMIUM"
)
WIDTHS = {"phone": 360, "desk": 1280}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    slower = [replace(one, task="a-task") for one in comparison("another", device="cpu")]
    path.write_text(page([*comparison(), *slower]))
    return path


def opened(browser, file, width=1280, scheme="light"):
    """Return the page with its requests, console messages and errors."""
    view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    events = []
    view.on("request", lambda request: events.append(request.url) if not request.url.startswith("data:") else None)
    view.on("console", lambda message: events.append(message.text))
    view.on("pageerror", lambda error: events.append(str(error)))
    view.goto(file.as_uri())
    return view, events


def backends(view):
    return view.eval_on_selector_all("#verdicts tbody tr:not([hidden])", "rows => rows.map(r => r.dataset.backend)")


def test_page_makes_no_request_and_logs_nothing(browser, file):
    view, events = opened(browser, file)
    assert [file.as_uri()] == events
    view.close()


def test_clicks_sort_and_reverse(browser, file):
    view, _ = opened(browser, file)
    button = view.get_by_role("button", name="ms", exact=True)
    button.click()
    times = view.eval_on_selector_all("#verdicts tbody tr", "rows => rows.map(r => r.cells[5].dataset.value)")
    measured = [float(value) for value in times if value]
    assert sorted(measured) == measured
    assert ["", ""] == times[len(measured) :][:2]
    button.click()
    times = view.eval_on_selector_all("#verdicts tbody tr", "rows => rows.map(r => r.cells[5].dataset.value)")
    assert sorted(measured, reverse=True) == [float(value) for value in times if value]
    assert "" == times[-1]
    view.close()


def test_keyboard_sorts_and_filters(browser, file):
    view, _ = opened(browser, file)
    view.get_by_role("button", name="backend", exact=True).focus()
    view.keyboard.press("Enter")
    assert sorted(backends(view)) == backends(view)
    view.locator("select[name=verdict]").focus()
    view.keyboard.type("ship")
    assert {"onnxruntime"} == set(backends(view))
    assert "2 of 10 cases" == view.locator("#count").inner_text()
    view.close()


def test_filters_combine(browser, file):
    view, _ = opened(browser, file)
    view.locator("select[name=task]").select_option("a-task")
    view.locator("select[name=backend]").select_option("pytorch")
    assert ["pytorch"] == backends(view)
    view.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_page_is_accessible_and_fits_the_width(browser, file, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    view, _ = opened(browser, file, width, scheme)
    view.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    violations = Axe().run(view).response["violations"]
    assert [] == [
        (one["id"], one["nodes"][0]["html"][:200]) for one in violations if one["impact"] in ("serious", "critical")
    ]
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    view.close()


def test_markup_in_names_runs_nothing(browser, tmp_path):
    path = tmp_path / "hostile.html"
    hostile = "<img src=x onerror=document.title='gotcha'>"
    path.write_text(page([replace(one, model=hostile) for one in comparison()] + [factory.failed("x", hostile)]))
    view, events = opened(browser, path)
    assert [path.as_uri()] == events
    assert view.title().startswith("shipbench")
    view.close()


@pytest.fixture(scope="module")
def history_file(tmp_path_factory):
    """The page of a history of two cases."""
    runs = [*drawn(2.0, 12, seed=1), *(run(n, backend="other") for n in range(3))]
    points = [point_of(one) for one in runs]
    commits = {key_of(one): Commit("0" * 40, one.created) for one in runs}
    path = tmp_path_factory.mktemp("page") / "history.html"
    path.write_text(history.page(History(points=points, commits=commits), path))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_history_is_accessible_and_filters(browser, history_file, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    view, events = opened(browser, history_file, width, scheme)
    violations = Axe().run(view).response["violations"]
    assert [] == [one["id"] for one in violations if one["impact"] in ("serious", "critical")]
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    view.locator("select[name=backend]").select_option("numpy")
    assert ["toy/bag.numpy.cpu"] == view.eval_on_selector_all("#verdicts tbody tr:not([hidden])", CASES)
    assert [history_file.as_uri()] == events
    view.close()


CASES = "rows => rows.map(row => row.cells[0].textContent)"
