"""Checks that every declared value shares: names, arguments, and choices of one out of several."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

from harness.errors import HarnessError

T = TypeVar("T")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def check_name(owner: str, name: str) -> None:
    """Raise HarnessError if `name` cannot be part of a file name and of a pytest id."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise HarnessError(
            f"{owner} name {name!r}: names become file names and pytest ids, so use letters, digits, '-' and '_' only"
        )


def check_tuple(owner: str, argument: str, value: object, example: str) -> None:
    """Raise HarnessError unless `value` is a tuple of texts that say something; lists cannot be hashed."""
    if not isinstance(value, tuple) or not all(isinstance(item, str) and item.strip() for item in value):
        raise HarnessError(f"{owner}: {argument}={value!r} must be a tuple of texts, as in {example}")


def check_choice(owner: str, sort: str, value: object, choices: Iterable[str]) -> None:
    """Raise HarnessError unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise HarnessError(f"{owner}: {unknown(sort, value, choices)}")


def unknown(sort: str, value: object, choices: Iterable[str]) -> str:
    """Return the message for a value that is not one of `choices`, with the closest of them where one is close."""
    choices = list(choices)
    close = get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {sort} {value!r}; expected one of {', '.join(choices)}{hint}"


def explain_arguments(**renamed: str) -> Callable[[type[T]], type[T]]:
    """Decorate a dataclass so that a wrong argument raises a HarnessError that names the right one.

    `renamed` maps arguments of earlier versions to what they are called now.
    """

    def decorate(cls: type[T]) -> type[T]:
        create: Callable[..., None] = cls.__init__

        @wraps(create)
        def __init__(self: T, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # replaces the dataclass's own
            try:
                create(self, *args, **kwargs)
            except TypeError:
                problem = _wrong_arguments(cls, create, args, kwargs, renamed)
                if not problem:
                    raise
                raise HarnessError(problem) from None

        cls.__init__ = __init__  # type: ignore[method-assign, assignment]
        return cls

    return decorate


def _wrong_arguments(
    cls: type, create: Callable[..., None], args: Sequence[Any], kwargs: Mapping[str, Any], renamed: Mapping[str, str]
) -> str:
    """Return what is wrong with the arguments; empty if they fit, so that the error lies elsewhere."""
    parameters = list(inspect.signature(create).parameters.values())[1:]  # without self
    names = [parameter.name for parameter in parameters]
    for name in kwargs:
        if name not in names and name in renamed:
            return f"{cls.__name__}({name}=…) is called {renamed[name]} now"
        if name not in names:
            return f"{cls.__name__}: {unknown('argument', name, names)}"
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(args) > len(positional):
        return f"{cls.__name__}: pass arguments by name; expected {', '.join(f'{name}=…' for name in names)}"
    required = [p.name for p in parameters if p.default is p.empty and p.name not in positional[: len(args)]]
    missing = [name for name in required if name not in kwargs]
    return f"{cls.__name__}: missing {', '.join(f'{name}=…' for name in missing)}" if missing else ""
