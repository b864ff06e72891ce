"""A run in a few lines: what failed comes first, what may ship is named, and no text of others does anything."""

import re
from dataclasses import replace

import factory
import pytest

from harness.report import github, properties, run_link, status
from harness.report.files import _csv
from harness.util.text import escape_markdown, one_line, spreadsheet_safe, terminal_safe
from harness.verdicts.comparability import comparisons
from harness.verdicts.table import tidy

GITHUB = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "me/mine", "GITHUB_RUN_ID": "42"}


def run():
    return [
        factory.result(),
        factory.result("onnxruntime", 1.5),
        factory.result("worse", 3.0, answers=factory.answers(lost=90)),
        factory.failed("broken", "no such operator\n::error::gotcha"),
    ]


def test_what_failed_stands_before_the_table_with_its_reason():
    text = github(run())
    failed, broken, table = (text.index(part) for part in ("no such operator", "breaks its gate", "| task / model"))
    assert max(failed, broken) < table
    assert "| toy-task / toy-model" in text
    assert " onnxruntime " in text[table:]


def test_a_run_in_one_line():
    assert "1 of 1 comparisons may ship a faster backend; of 4 cases, 1 failed, 1 breaks its gate" == status(
        list(comparisons(run()))
    )
    assert "0 of 0 comparisons may ship a faster backend" == status([])


def test_where_nothing_ships_it_says_why():
    text = github([factory.result("onnxruntime", 0.5)])
    assert "| nothing" in text
    assert "the reference, pytorch, was not selected" in text


def test_the_link_is_to_the_job_and_only_where_there_is_one():
    assert "https://github.com/me/mine/actions/runs/42#artifacts" == run_link(GITHUB)
    assert run_link(GITHUB | {"GITHUB_RUN_ID": ""}) is None
    assert "](https://github.com/me/mine/actions/runs/42" in github(run(), link=run_link(GITHUB))


def test_no_line_is_a_command_to_the_runner():
    assert not [line for line in github(run()).splitlines() if line.strip().startswith("::")]
    assert "## [add-mask]" in terminal_safe("row ##[add-mask]x")
    assert ["a", "| ::error::b", "| ::warning::c"] == terminal_safe("a\n::error::b\n   ::warning::c").split("\n")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_spreadsheet_takes_text_for_text(cell):
    assert f"'{one_line(cell)}" == spreadsheet_safe(cell)
    assert f",'{one_line(cell)}" in _csv(tidy([factory.failed(message=cell)])).decode()


def test_a_table_in_a_log_is_no_command():
    text = _csv(tidy([factory.failed(message="a\x1b[2J\n::error::b\n##[add-mask]c")])).decode()
    assert 2 == len(text.splitlines())
    assert "\x1b" not in text
    assert "##[" not in text


def test_numbers_stay_numbers():
    assert -1.5 == spreadsheet_safe(-1.5)


def test_junit_is_told_plain_numbers():
    found = properties(factory.result("onnxruntime", 1.5, answers=factory.answers(lost=2)))
    assert ("ok", "ship", "0.948", "0.002") == tuple(
        found[f"ship_{name}"] for name in ("status", "verdict", "score", "drop")
    )
    assert float(found["ship_speedup_low"]) < 1.5 < float(found["ship_speedup_high"])
    assert {"ship_status": "failed", "ship_verdict": "failed"}.items() <= properties(factory.failed()).items()
    assert "ship_verdict" not in properties(factory.result())
    assert all(float(value) == float(value) for name, value in found.items() if "drop" in name or "speedup" in name)


def test_markup_in_a_message_is_inert():
    nasty = replace(run()[3], error=replace(run()[3].error, message="<img src=x> `x` | y"))
    assert r"\<img src=x\> \`x\` \| y" in github([nasty])


def test_a_comment_mentions_links_and_stresses_nothing():
    text = escape_markdown("![x](https://e/p) @org/team Foo.__init__() #12 <b> | ~~a~~")
    assert not set(re.sub(r"\\.", "", text)) & set("[]!*_~<>|`")
    assert "@org" not in text
    assert "#12" not in text


def test_a_proven_regression_is_red_too():
    text = github(run()[:2], regressed={run()[1].name: ["regressed at batch 1: slower"]})
    assert "1 regressed" in text.splitlines()[0]
    assert text.index("regressed at batch 1") < text.index("| task")
