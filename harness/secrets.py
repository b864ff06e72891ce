"""Values of the environment that nobody else may read: taken out of errors before these are written down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

NAME = re.compile(r"TOKEN(?!IZER)|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY", re.IGNORECASE)
SHORTEST = 8
"""A shorter value may be a word of any text."""
GONE = "***"


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text, in which values of variables that are named like secrets are replaced."""
    known = os.environ if environment is None else environment
    values = {value for name, value in known.items() if NAME.search(name) and len(value) >= SHORTEST}
    # The longest first: one may begin with another.
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, GONE)
    return text
