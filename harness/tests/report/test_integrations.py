"""The summary for GitHub, JUnit's properties, and text that a runner, a comment or a spreadsheet could misread."""

import re
from dataclasses import replace

import factory
import pytest

from harness.report.files import _csv
from harness.report.integrations import github_summary, junit_properties, run_link, status_line
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


def test_failures_stand_before_the_table():
    text = github_summary(run())
    failed, broken, table = (text.index(part) for part in ("no such operator", "breaks its gate", "| task / model"))
    assert max(failed, broken) < table
    assert "| toy-task / toy-model" in text
    assert " onnxruntime " in text[table:]
    assert "worse: worse" in text[table:]


def test_status_counts_cases_by_problem():
    assert "1 of 1 comparisons may ship a faster backend; of 4 cases, 1 failed, 1 breaks its gate" == status_line(
        list(comparisons(run()))
    )
    assert "0 of 0 comparisons may ship a faster backend" == status_line([])


def test_missing_recommendation_has_its_reason():
    assert r"| nothing: pytorch, the reference, was not measured" in github_summary(
        [factory.result("onnxruntime", 0.5)]
    )


def test_proven_regressions_stand_before_the_table():
    text = github_summary(run()[:2], regressions={run()[1].stored_name: ["regressed at batch 1: slower"]})
    assert "1 regressed" in text.splitlines()[0]
    assert text.index("regressed at batch 1") < text.index("| task")


def test_link_appears_only_in_a_job():
    assert "https://github.com/me/mine/actions/runs/42#artifacts" == run_link(GITHUB)
    assert run_link(GITHUB | {"GITHUB_RUN_ID": ""}) is None
    assert "](https://github.com/me/mine/actions/runs/42" in github_summary(run(), link=run_link(GITHUB))


def test_junit_properties_are_plain_numbers():
    properties = junit_properties(factory.result("onnxruntime", 1.5, answers=factory.answers(lost=2)))
    assert ("ok", "ship", "0.948", "0.002") == tuple(
        properties[f"ship_{name}"] for name in ("status", "verdict", "score", "drop")
    )
    assert float(properties["ship_speedup_low"]) < 1.5 < float(properties["ship_speedup_high"])
    assert {"ship_status": "failed", "ship_verdict": "failed"}.items() <= junit_properties(factory.failed()).items()
    assert "ship_verdict" not in junit_properties(factory.result())


def test_no_line_is_a_runner_command():
    assert not [line for line in github_summary(run()).splitlines() if line.strip().startswith("::")]
    assert "## [add-mask]" in terminal_safe("row ##[add-mask]x")
    assert ["a", "| ::error::b", "| ::warning::c"] == terminal_safe("a\n::error::b\n   ::warning::c").split("\n")
    text = _csv(tidy([factory.failed(message="a\x1b[2J\n::error::b\n##[add-mask]c")])).decode()
    assert 2 == len(text.splitlines())
    assert "\x1b" not in text
    assert "##[" not in text


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_spreadsheets_read_formulas_as_text(cell):
    assert f"'{one_line(cell)}" == spreadsheet_safe(cell)
    assert f",'{one_line(cell)}" in _csv(tidy([factory.failed(message=cell)])).decode()
    assert -1.5 == spreadsheet_safe(-1.5)


def test_markup_in_messages_is_inert():
    hostile = replace(run()[3], error=replace(run()[3].error, message="<img src=x> `x` | y"))
    assert r"\<img src=x\> \`x\` \| y" in github_summary([hostile])
    text = escape_markdown("![x](https://e/p) @org/team Foo.__init__() #12 <b> | ~~a~~")
    assert not set(re.sub(r"\\.", "", text)) & set("[]!*_~<>|`")
    assert "@org" not in text
    assert "#12" not in text
