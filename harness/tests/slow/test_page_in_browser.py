"""The page as a person meets it, in Chromium without a window: it asks for nothing, and mouse and keys work it."""

import os
import shutil
from dataclasses import replace

import factory
import pytest
from runs import drawn, run
from test_page import comparison

from harness.regression.history import Commit, History, key_of
from harness.regression.trends import point, trends
from harness.report import history
from harness.report.page import page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: install Debian's chromium, or name one in CHROMIUM"
)
WIDTHS = {"telephone": 360, "desk": 1280}


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
    """The page, and what it asked for and said."""
    view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said = []
    view.on("request", lambda request: said.append(request.url) if not request.url.startswith("data:") else None)
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.goto(file.as_uri())
    return view, said


def backends(view):
    return view.eval_on_selector_all("#verdicts tbody tr:not([hidden])", "rows => rows.map(r => r.dataset.backend)")


def test_it_asks_for_nothing_and_complains_of_nothing(browser, file):
    view, said = opened(browser, file)
    assert [file.as_uri()] == said
    view.close()


def test_a_click_sorts_and_another_sorts_the_other_way(browser, file):
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


def test_keys_alone_sort_and_filter(browser, file):
    view, _ = opened(browser, file)
    view.get_by_role("button", name="backend", exact=True).focus()
    view.keyboard.press("Enter")
    assert sorted(backends(view)) == backends(view)
    view.locator("select[name=verdict]").focus()
    view.keyboard.type("ship")
    assert {"onnxruntime"} == set(backends(view))
    assert "2 of 10 cases" == view.locator("#count").inner_text()
    view.close()


def test_filters_narrow_each_other(browser, file):
    view, _ = opened(browser, file)
    view.locator("select[name=task]").select_option("a-task")
    view.locator("select[name=backend]").select_option("pytorch")
    assert ["pytorch"] == backends(view)
    view.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_no_serious_barrier_and_no_sideways_scrolling(browser, file, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    view, _ = opened(browser, file, width, scheme)
    view.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    found = Axe().run(view).response["violations"]
    assert [] == [
        (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
    ]
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    view.close()


def test_a_name_full_of_markup_runs_nothing(browser, tmp_path):
    path = tmp_path / "nasty.html"
    nasty = "<img src=x onerror=document.title='gotcha'>"
    path.write_text(page([replace(one, model=nasty) for one in comparison()] + [factory.failed("x", nasty)]))
    view, said = opened(browser, path)
    assert [path.as_uri()] == said
    assert view.title().startswith("shipbench")
    view.close()


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The page of a history with a step."""
    runs = [*drawn(2.0, 12, seed=1), *drawn(1.5, 8, seed=2, first=12), *(run(n, model="other") for n in range(3))]
    points = [point(one) for one in runs]
    commits = {key_of(one): Commit("0" * 40, one.created) for one in runs}
    path = tmp_path_factory.mktemp("page") / "history.html"
    path.write_text(history.page(History(points=points, commits=commits), trends(points), path))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_a_history_has_no_serious_barrier_asks_for_nothing_and_is_filtered(browser, course, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    view, said = opened(browser, course, width, scheme)
    found = Axe().run(view).response["violations"]
    assert [] == [one["id"] for one in found if one["impact"] in ("serious", "critical")]
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    view.locator("select[name=steps]").select_option("found")
    assert ["toy/bag.numpy.cpu"] == view.eval_on_selector_all("#verdicts tbody tr:not([hidden])", CASES)
    assert [course.as_uri()] == said
    view.close()


CASES = "rows => rows.map(row => row.cells[0].textContent)"
