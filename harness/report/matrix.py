"""The matrix: every model over machines and backends, what a million requests cost there, and what to choose."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.contracts.declarations import unknown
from harness.errors import HarnessError
from harness.report.rendering import bullets, markdown, number
from harness.stats.intervals import Interval, format_bounds, join_names, lead_with_bound
from harness.verdicts.machines import Candidate, Prices, Timing, by_model, cheapest, subject_differences

PRICES = "prices.toml"
"""File in a folder of results: machine = money for an hour."""
CAPTION = (
    "Speed-ups compare with the reference on the same machine. Between machines only milliseconds and money are "
    "compared, each from its own rounds. A cost is that of a million requests, with a 95 % interval from the spread "
    "between launches: it holds for these rounds, and another hour of the same machine may be slower."
)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """One model over machines."""

    title: str
    choices: list[str]
    """Sentences: what to choose over all machines."""
    view: pd.DataFrame


def sections(several: Iterable[Matrix]) -> list[str]:
    """Return matrices in Markdown, the last with what holds for all."""
    texts = [f"## {one.title}\n\n{bullets(one.choices)}\n\n{markdown(one.view)}\n" for one in several]
    return [*texts[:-1], f"{texts[-1]}\n{CAPTION}\n"] if texts else []


def read_prices(folder: Path, machines: Iterable[str], shown: Iterable[str]) -> dict[str, float]:
    """Return the prices in a folder of results, if it has a file of them; HarnessError unless they make sense.

    Each must be of one of `machines`, and all of `shown` must have one.
    """
    path, machines = folder / PRICES, sorted(machines)
    try:
        prices = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HarnessError(f"{path}: unreadable: {error}; write lines such as: c7i = 0.17") from error
    for machine, price in prices.items():
        if machine not in machines:
            raise HarnessError(f"{path}: {unknown('machine', machine, machines)}")
        check_price(f"{path}: {machine} =", price)
    if absent := sorted(set(shown) - prices.keys()):
        raise HarnessError(f"{path}: no price of {join_names(absent)}; add a line for each machine with results")
    return {machine: float(price) for machine, price in prices.items()}


def check_price(owner: str, price: object) -> None:
    """Raise HarnessError on behalf of `owner` unless this is a price."""
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 < price < math.inf:
        raise HarnessError(f"{owner} {price!r}: must be an amount of money, a number above 0")


def matrices(several: Iterable[Candidate], prices: Prices, max_cost: float | None = None) -> Iterator[Matrix]:
    """Yield a matrix of each model that several machines measured; with prices, also of those on one machine."""
    for group in by_model(several):
        machines = list(dict.fromkeys(one.machine for one in group))
        if len(machines) > 1 or prices.keys() & set(machines):
            yield Matrix(
                title=f"{group[0].task} / {group[0].model} on {join_names(machines)}",
                choices=list(choices(group, prices, max_cost)),
                view=pd.DataFrame(_row(one, prices) for one in group),
            )


def choices(group: Sequence[Candidate], prices: Prices, max_cost: float | None = None) -> Iterator[str]:
    """Yield what to choose of one model over all machines: at batch 1 and, with prices, at the largest batches.

    With prices the cheapest, else the fastest of the cases that are recommended on their machines; at the largest
    batches, which no verdict is about, of all that may ship.
    """
    if unequal := subject_differences(group):
        yield f"Machines are not compared, because they measured different things: {'; '.join(unequal)}."
        return
    chosen = [one for one in group if one.is_chosen and one.first]
    able = [one for one in group if one.ships and one.last]
    if not chosen:
        yield "Nothing was timed that may ship."
    elif any(one.machine in prices for one in group):
        yield _cheapest([(one, one.first) for one in chosen if one.first], prices, max_cost)
        if able:
            yield _cheapest([(one, one.last) for one in able if one.last], prices, max_cost)
    else:
        best, rivals = cheapest([(one, one.first.call_ms) for one in chosen if one.first])
        yield f"Fewest milliseconds at batch 1: {best.place}, {_ms(best.first)}{_rivals(rivals, 'fast')}."
    if len({one.weights for one in group if one.weights}) > 1:
        yield "The machines trained their own checkpoints, so their scores may differ."


def _cheapest(several: Sequence[tuple[Candidate, Timing]], prices: Prices, max_cost: float | None) -> str:
    """Say which candidate costs least at its timing, and whether it keeps the limit."""
    costs = [(one, timing.cost(prices[one.machine])) for one, timing in several]
    best, rivals = cheapest(costs)
    cost, timing = dict(costs)[best], dict(several)[best]
    where = f"batch {timing.batch:,}"
    if max_cost is not None and cost.estimate > max_cost:
        return f"Nothing costs at most {max_cost:g} a million requests: {best.place} at {where} costs {money(cost)}."
    text = f"At {where}, ship {best.place}: {money(cost)} a million requests, {_ms(timing)}"
    if timing.gain is not None:
        what = "cheaper than" if timing.gain.low > 1 else "as fast as"
        text += f"; {lead_with_bound(timing.gain)} {what} {REFERENCE} on the same machine"
    if max_cost is not None and cost.high > max_cost:
        text += f"; it may cost more than {max_cost:g}"
    return f"{text}{_rivals(rivals, 'cheap')}."


def _rivals(rivals: Sequence[Candidate], word: str) -> str:
    return f"; {join_names([one.place for one in rivals])} may be as {word}" if rivals else ""


def _ms(timing: Timing | None) -> str:
    return f"{number(timing.call_ms.estimate, 3)} ms" if timing else ""


def money(cost: Interval) -> str:
    """Write a cost with its interval."""
    decimals = max(2, 1 - math.floor(math.log10(cost.estimate)))
    return f"{number(cost.estimate, decimals=decimals)} {format_bounds(cost.low, cost.high, decimals)}"


def _row(one: Candidate, prices: Prices) -> dict[str, str]:
    row = {
        "machine": one.machine,
        "device": one.device,
        "backend": f"{one.backend}{' *' if one.is_chosen else ''}",
        "speed-up, batch 1": _gain(one.first),
        "ms": number(one.first.call_ms.estimate, 3) if one.first else "",
        "largest batch": f"{one.last.batch:,}" if one.last else "",
        "rows/s": number(1e3 / one.last.request_ms.estimate, 3) if one.last else "",
        "verdict": one.word,
    }
    if prices:
        price = prices.get(one.machine)
        for title, timing in (("cost, batch 1", one.first), ("cost, largest batch", one.last)):
            row[title] = money(timing.cost(price)) if timing and price else ""
    return row


def _gain(timing: Timing | None) -> str:
    if timing is None or timing.gain is None:
        return "1×" if timing else ""
    return f"{timing.gain.estimate:.2f}× {format_bounds(timing.gain.low, timing.gain.high)}"
