"""The matrix of a model over machines: what is chosen, what it costs, and prices that make no sense."""

from dataclasses import replace
from pathlib import Path

import factory
import pandas as pd
import pytest
from html_reader import Reader

from conftest import REPOSITORY
from harness.commands.cli import main
from harness.errors import HarnessError
from harness.report import matrix
from harness.results import store
from harness.results.schema import Built
from harness.verdicts.machines import candidates
from harness.verdicts.table import COSTS

NOISE = 0.02


def group(machine, *factors, batch=16, device="cpu", **changed):
    """A comparison on a machine: the reference, and a backend for each factor, at batch 1 and a larger one."""
    named = {"pytorch": None} | {f"fast-{factor:g}": factor for factor in factors}
    return [
        factory.result(
            backend, factor, device=device, environment=factory.elsewhere(machine=machine),
            series=(factory.series(factor, noise=NOISE), factory.series(factor, batch=batch, noise=NOISE)), **changed,
        )
        for backend, factor in named.items()
    ]  # fmt: skip


def found(*groups, prices=None, max_cost=None):
    several = (one for group in groups for one in candidates(group))
    return list(matrix.matrices(several, prices or {}, max_cost))


def test_model_on_one_machine_needs_no_matrix_without_a_price():
    assert [] == found(group("c7i", 2.0))
    (one,) = found(group("c7i", 2.0), prices={"c7i": 0.17})
    assert "toy-task / toy-model on c7i" == one.title


def test_matrix_has_a_row_for_each_machine_and_backend():
    (one,) = found(group("c7i", 2.0), group("g6", 3.0, batch=64, device="cuda"))
    assert "toy-task / toy-model on c7i and g6" == one.title
    assert ["c7i", "c7i", "g6", "g6"] == one.view["machine"].tolist()
    assert ["pytorch", "fast-2 *", "pytorch", "fast-3 *"] == one.view["backend"].tolist()
    assert ["cpu", "cpu", "cuda", "cuda"] == one.view["device"].tolist()
    assert ["16", "16", "64", "64"] == one.view["largest batch"].tolist()
    assert ["reference", "ship", "reference", "ship"] == one.view["verdict"].tolist()
    assert "1×" == one.view["speed-up, batch 1"][0]
    assert one.view["speed-up, batch 1"][1].startswith("2.0")
    assert "cost, batch 1" not in one.view


def test_without_prices_milliseconds_are_compared():
    (one,) = found(group("c7i", 2.0), group("g6", 3.0, device="cuda"))
    (sentence,) = one.choices
    assert sentence.startswith("Fewest milliseconds at batch 1: fast-3 on g6 (cuda), 0.33")
    assert "may be" not in sentence


def test_machines_that_overlap_are_named():
    (one,) = found(group("c7i", 2.0), group("m7a", 2.001))
    assert "Fewest milliseconds at batch 1: fast-2" in one.choices[0]
    assert one.choices[0].endswith(" may be as fast.")


@pytest.mark.parametrize(("digest", "said"), [("ab", False), ("cd", True)])
def test_machines_with_checkpoints_of_their_own_are_said_to_have_them(digest, said):
    def built(weights):
        return Built(key=weights, size_bytes=1, seconds=1.0, info={"weights_sha256": weights})

    (one,) = found(group("c7i", 2.0, checkpoint=built("ab")), group("g6", 3.0, checkpoint=built(digest)))
    assert said == ("The machines trained their own checkpoints, so their scores may differ." in one.choices)


def test_prices_decide_for_the_slower_machine():
    """The dearer machine is 1.5 times as fast and costs 10 times as much."""
    (one,) = found(group("c7i", 2.0), group("g6", 3.0), prices={"c7i": 0.36, "g6": 3.6})
    small, large = one.choices
    # 0.5 ms of an hour for 0.36 are 0.05 a million
    assert small.startswith("At batch 1, ship fast-2 on c7i: 0.050 [0.0")
    assert " a million requests, 0.50" in small
    assert "cheaper than pytorch on the same machine" in small
    assert large.startswith("At batch 16, ship fast-2 on c7i: 0.0031 [0.00")
    assert "0.050 [0." in one.view["cost, batch 1"][1]
    assert one.view["cost, batch 1"][3].startswith("0.33 [")
    assert "0.0031 [" in one.view["cost, largest batch"][1]


def test_larger_batches_may_choose_another_machine():
    (one,) = found(group("c7i", 2.0), group("g6", 3.0, batch=1024), prices={"c7i": 0.36, "g6": 3.6})
    assert "fast-2 on c7i" in one.choices[0]
    assert one.choices[1].startswith("At batch 1,024, ship fast-3 on g6: ")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0.04, "Nothing costs at most 0.04 a million requests: fast-2 on c7i at batch 1 costs 0.050 ["),
        (1.0, "At batch 1, ship fast-2 on c7i: 0.050 ["),
    ],
)
def test_limit_of_cost_is_kept(limit, expected):
    (one,) = found(group("c7i", 2.0), prices={"c7i": 0.36}, max_cost=limit)
    assert one.choices[0].startswith(expected)
    assert "may cost more" not in one.choices[0]


def test_limit_within_the_interval_may_be_exceeded():
    first = next(one.first for one in candidates(group("c7i", 2.0)) if one.is_chosen)
    limit = first.cost(0.36).estimate * 1.0001
    (one,) = found(group("c7i", 2.0), prices={"c7i": 0.36}, max_cost=limit)
    assert one.choices[0].endswith(f"on the same machine; it may cost more than {limit:g}.")


def test_reference_is_chosen_without_a_ratio_to_itself():
    (one,) = found(group("c7i", 0.5), group("m7a", 0.5), prices={"c7i": 0.36, "m7a": 0.72})
    assert one.choices[0].startswith("At batch 1, ship pytorch on c7i: 0.100 [")
    assert "cheaper" not in one.choices[0]


def test_models_that_differ_are_not_compared():
    other = [replace(result, recipe={"max_length": 64}) for result in group("m7a", 3.0)]
    first = [replace(result, recipe={"max_length": 96}) for result in group("c7i", 2.0)]
    (one,) = found(first, other, prices={"c7i": 1.0, "m7a": 1.0})
    assert [
        "Machines are not compared, because they measured different things: max_length is 96 on c7i, 64 on m7a."
    ] == one.choices


def test_nothing_ships_where_nothing_was_timed():
    (one,) = found(*[[factory.failed(environment=factory.elsewhere(machine=name))] for name in ("c7i", "m7a")])
    assert ["Nothing was timed that may ship."] == one.choices


def test_single_launch_gives_a_cost_without_an_interval():
    alone = [
        replace(r, series=(factory.series(2.0 if r.backend != "pytorch" else None, launches=1),))
        for r in group("c7i", 2.0)
    ]
    (one,) = found(alone, prices={"c7i": 0.36})
    assert "0.050 [too few launches or rounds]" in one.view["cost, batch 1"][1]
    assert ["", ""] == one.view["cost, largest batch"].tolist()


# Prices


def prices(folder: Path, text: str):
    (folder / matrix.PRICES).write_text(text)
    return matrix.read_prices(folder, ["c7i", "m7a"], ["c7i"])


def test_prices_are_read_by_machine(tmp_path):
    assert {} == matrix.read_prices(tmp_path, ["c7i"], ["c7i"])
    assert {"c7i": 0.17, "m7a": 1.0} == prices(tmp_path, "c7i = 0.17\nm7a = 1\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c7i = -1", r"prices\.toml: c7i = -1: must be an amount of money, a number above 0"),
        ("c7i = 0", "c7i = 0: must be"),
        ("c7i = nan", "c7i = nan: must be"),
        ("c7i = inf", "c7i = inf: must be"),
        ("c7i = true", "c7i = True: must be"),
        ("c7i = '0.17'", "c7i = '0.17': must be"),
        ("[c7i]\nhour = 1", "c7i = {'hour': 1}: must be"),
        ("c7 = 0.17", "unknown machine 'c7'; expected one of c7i, m7a; did you mean 'c7i'"),
        ("m7a = 0.17", "no price of c7i; add a line for each machine with results"),
        ("", "no price of c7i"),
        ("c7i: 0.17", r"prices\.toml: unreadable: .*; write lines such as: c7i = 0\.17"),
    ],
)
def test_prices_that_make_no_sense_are_refused(tmp_path, text, message):
    with pytest.raises(HarnessError, match=message):
        prices(tmp_path, text)


# The command


@pytest.fixture
def results(tmp_path):
    for result in [*group("c7i", 2.0), *group("m7a", 3.0)]:
        store.save(tmp_path, result)
    return tmp_path


def report(capsys, folder: Path, *words: str):
    """Run the command; return its status, output and errors."""
    status = main(["report", "--ship-results", str(folder), *words])
    return status, *capsys.readouterr()


def test_tables_of_all_machines_begin_with_the_matrix(results, capsys):
    assert 0 == report(capsys, results)[0]
    shared, own = ((results / name).read_text() for name in ("comparison.md", "c7i/comparison.md"))
    assert shared.startswith("# Comparison\n\n## toy-task / toy-model on c7i and m7a\n\n- Fewest milliseconds")
    assert 1 == shared.count(matrix.CAPTION)
    assert matrix.CAPTION not in own
    (results / matrix.PRICES).write_text("c7i = 0.17\nm7a = 0.2\n")
    assert 1 == report(capsys, results, "--check")[0]
    assert 0 == report(capsys, results)[0]
    shared, own = ((results / name).read_text() for name in ("comparison.md", "c7i/comparison.md"))
    assert "- At batch 1, ship fast-3 on m7a: 0.019 [" in shared
    assert "- At batch 1, ship fast-2 on c7i: 0.024 [" in own
    assert 0 == report(capsys, results, "--check")[0]


def test_table_has_the_costs_that_prices_give(results, capsys):
    assert 0 == report(capsys, results)[0]
    assert COSTS[0] not in pd.read_csv(results / "comparison.csv")
    (results / matrix.PRICES).write_text("c7i = 0.36\nm7a = 7.2\n")
    assert 0 == report(capsys, results)[0]
    table = pd.read_csv(results / "comparison.csv").set_index(["machine", "backend", "batch"])
    cost, low, high = table.loc[("c7i", "fast-2", 1), COSTS[1:]]
    assert (0.05, True) == (pytest.approx(cost, rel=0.02), low < cost < high)
    assert pytest.approx(0.1 / 16, rel=0.02) == table.loc[("c7i", "pytorch", 16), "cost_per_million"]
    assert {0.36, 7.2} == set(table["price_per_hour"])
    alone = pd.read_csv(results / "m7a/comparison.csv")
    assert {7.2} == set(alone["price_per_hour"])


def test_short_summary_says_what_to_choose(results, capsys):
    text = report(capsys, results, "--short")[1]
    assert "- toy-task / toy-model on c7i and m7a: Fewest milliseconds at batch 1: fast-3 on m7a, 0.33" in text
    text = report(capsys, results, "--short", "--machine", "c7i", "--price", "0.36", "--max-cost", "0.01")[1]
    assert "on c7i: Nothing costs at most 0.01 a million requests: fast-2 on c7i at batch 1 costs 0.050" in text


def test_page_has_the_matrix(results, capsys):
    page = results / "page.html"
    assert 0 == report(capsys, results, "--html", str(page))[0]
    assert "Fewest milliseconds at batch 1: fast-3 on m7a" in page.read_text()
    assert 0 == report(capsys, results, "--html", str(page), "--machine", "c7i")[0]
    assert matrix.CAPTION not in page.read_text()
    assert 0 == report(capsys, results, "--html", str(page), "--machine", "c7i", "--price", "0.36")[0]
    assert "At batch 1, ship fast-2 on c7i: 0.050" in page.read_text()
    assert [] == Reader(page.read_text()).open


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--price", "1"], "--price needs --html or --short"),
        (["--max-cost", "1"], "--max-cost needs --html or --short"),
        (["--short", "--price", "1"], "--price 1 is of one machine: name it with --machine, or write"),
        (["--short", "--machine", "c7i", "--price", "nan"], "--price nan: must be an amount of money"),
        (["--short", "--machine", "c7i", "--price", "-1"], "--price -1.0: must be an amount of money"),
        (["--short", "--max-cost", "0"], "--max-cost 0.0: must be an amount of money"),
        (["--short", "--max-cost", "1"], "--max-cost 1 needs --price, or"),
    ],
)
def test_options_that_make_no_sense_are_refused(results, capsys, words, message):
    status, _, err = report(capsys, results, *words)
    assert (4, True) == (status, message in err), err


def test_local_results_need_no_price(results, capsys):
    (results / matrix.PRICES).write_text("c7i = 0.17\nm7a = 0.3\n")
    for result in group("local", 2.0):
        store.save(results, result)
    assert 0 == report(capsys, results)[0]
    store.save(results, replace(group("g6")[0], task="other"))
    assert "no price of g6" in report(capsys, results)[2]


def test_committed_results_of_three_machines_have_a_matrix():
    text = (REPOSITORY / "results/comparison.md").read_text()
    assert "## bbc-news / all-MiniLM-L6-v2 on epyc-2core, h200 and xeon-2core" in text
