"""Checks that all declarations share: names, arguments and choices."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

from harness.errors import HarnessError

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
FORMS = ("xywh", "xyxy", "yolo")
"""Forms of boxes."""
MOST_CLASSES = 255
"""Labels that masks may have: pixels of 8 bits, of which one value stands for pixels that count for nothing."""
RENAMED = {"floor": "min_score", "max_loss": "max_drop"}
"""Arguments of earlier versions → their names now."""


def check_name(owner: str, name: str) -> None:
    """Raise HarnessError if `name` cannot be part of a file name and of a pytest id."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise HarnessError(
            f"{owner} name {name!r}: use letters, digits, '-' and '_' only; it becomes part of file names"
        )


def check_tuple(owner: str, argument: str, value: object, example: str) -> None:
    """Raise HarnessError unless `value` is a tuple of non-blank strings; lists cannot be hashed."""
    if not isinstance(value, tuple) or not all(isinstance(item, str) and item.strip() for item in value):
        raise HarnessError(f"{owner}: {argument}={value!r} must be a tuple of strings, as in {example}")


def check_choice(owner: str, sort: str, value: object, choices: Collection[str]) -> None:
    """Raise HarnessError unless `value` is one of `choices`."""
    if value not in choices:
        raise HarnessError(f"{owner}: {unknown(sort, value, choices)}")


def check_batches(owner: str, sizes: object) -> None:
    """Raise HarnessError unless `sizes` is a tuple of rising batch sizes."""
    numbers = sizes if isinstance(sizes, tuple) and sizes else (0,)
    if not all(type(size) is int and size > 0 for size in numbers) or list(numbers) != sorted({*numbers}):
        raise HarnessError(f"{owner}={sizes!r} must be whole numbers of rows that rise, as in (1, 16)")


def check_rate(owner: str, kind: str, media: str, rate: object) -> None:
    """Raise HarnessError unless `rate` is None, or whole samples a second for a kind of sound."""
    if rate is not None and (media != "audio" or type(rate) is not int or rate < 1):
        raise HarnessError(
            f"{owner}: rate={rate!r} is for kinds of sound, in whole samples a second, as in 16_000; {kind} reads "
            f"{media or 'text'}"
        )


def check_regions(owner: str, label: str, boxes: str | None, classes: tuple[str, ...], ignore: int | None) -> None:
    """Raise HarnessError unless what a task declares of boxes or masks is for a kind whose labels are such."""
    check_tuple(owner, "classes", classes, "('background', 'road')")
    declared = {"boxes": ("boxes", boxes), "classes": ("mask", classes), "ignore": ("mask", ignore)}
    for name, (sort, value) in declared.items():
        if value not in (None, ()) and label != sort:
            raise HarnessError(f"{owner}: {name}={value!r} is for kinds whose label is {sort}; leave it out")
    if boxes is not None:
        check_choice(owner, "boxes", boxes, FORMS)
    if label == "mask" and not 2 <= len({*classes}) == len(classes) <= MOST_CLASSES:
        raise HarnessError(
            f"{owner}: classes={classes!r} must name the labels that the numbers in masks stand for, each once, at "
            f"least two and at most {MOST_CLASSES}, as in classes=('background', 'road')"
        )
    if ignore is not None and ignore in range(len(classes)):
        raise HarnessError(f"{owner}: ignore={ignore} is the number of {classes[ignore]!r} in classes=; leave one out")


def unknown(sort: str, value: object, choices: Collection[str]) -> str:
    """Return the message for a value that is not one of `choices`, with the closest of them where one is close."""
    close = get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {sort} {value!r}; expected one of {', '.join(choices)}{hint}"


def explain_arguments(cls: type[T]) -> type[T]:
    """Decorate a dataclass so that a wrong argument raises a HarnessError that names the right one."""
    create: Callable[..., None] = cls.__init__
    parameters = list(inspect.signature(create).parameters.values())[1:]  # without self

    @wraps(create)
    def __init__(self: T, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # replaces the dataclass's own
        problem = _wrong_arguments(parameters, args, kwargs)
        if problem:
            raise HarnessError(f"{cls.__name__}{problem}")
        create(self, *args, **kwargs)

    cls.__init__ = __init__  # type: ignore[method-assign, assignment]
    return cls


def _wrong_arguments(parameters: Sequence[inspect.Parameter], args: Sequence[Any], kwargs: Collection[str]) -> str:
    """Return what is wrong with the arguments, to follow the class's name; empty if they fit."""
    names = [parameter.name for parameter in parameters]
    for name in kwargs:
        if name not in names:
            new = RENAMED.get(name)
            return f"({name}=…) is called {new} now" if new in names else f": {unknown('argument', name, names)}"
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(args) > len(positional):
        return f": pass arguments by name; expected {', '.join(f'{name}=…' for name in names)}"
    filled = {*positional[: len(args)], *kwargs}
    missing = [f"{p.name}=…" for p in parameters if p.default is p.empty and p.name not in filled]
    return f": missing {', '.join(missing)}" if missing else ""
