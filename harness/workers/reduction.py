"""What comes after a backend: what is kept of its outputs, made in the worker once the window has closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.kind import without
from harness.loading import load_symbol, name_of

if TYPE_CHECKING:
    from harness.contracts import Arrays, Session
    from harness.kind import Kind


def order(kind: Kind) -> dict[str, Any]:
    """For `reduced`, as JSON."""
    assert kind.reduce is not None
    return {"reduce": name_of(kind.reduce), "aside": list(kind.aside)}


def reduced(session: Session, order: dict[str, Any]) -> Session:
    """The session, which is not given what lies aside, and whose outputs are reduced when they are kept."""
    reduce, aside = load_symbol(**order["reduce"]), frozenset(order["aside"])
    last: Arrays = {}

    def given(call: Callable[[Arrays], Any]) -> Callable[[Arrays], Any]:
        def run(arrays: Arrays) -> Any:
            nonlocal last
            last = arrays
            return call(without(arrays, aside))

        return run

    return session._replace(
        run=given(session.run),
        compile=session.compile and given(session.compile),
        keep=lambda outputs: reduce(last, outputs),
    )
