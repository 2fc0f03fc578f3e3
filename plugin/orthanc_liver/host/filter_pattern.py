"""Regular expressions of the setting Filter, which must not hold Python's global lock for long."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _parser  # type: ignore[attr-defined] # as old as re, but without a stub
from typing import Any

# Longer than any one value of a main tag. With two ".*" 256 characters take at most 0.1 s to
# match, 1024 take 5 s.
_MAX_VALUE_CHARS = 256
# Ways to match a value that a pattern may have: two ".*" and a few alternatives.
_MAX_WAYS = 32 * _MAX_VALUE_CHARS**2


def problem_of(pattern: str) -> str | None:
    """Why a pattern cannot be used, else None."""
    try:
        re.compile(pattern)
        ways = _ways(_parser.parse(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        return f"{pattern!r} is no regular expression ({error})"
    if ways > _MAX_WAYS:
        return (
            f"{pattern!r} could take minutes to match: write it without repeats within repeats, "
            "and with no more than two of * and +"
        )
    return None


def is_found(pattern: str, value: str) -> bool:
    """Whether a pattern without a problem is found in the beginning of a value."""
    return re.search(pattern, value[:_MAX_VALUE_CHARS]) is not None


def _ways(items: Iterable[tuple[Any, Any]]) -> int:
    """An upper bound of how many ways of matching are tried from one place of a value."""
    ways = 1
    for kind, content in items:
        ways = min(ways * _ways_of(str(kind), content), _MAX_WAYS + 1)
    return ways


def _ways_of(kind: str, content: Any) -> int:
    match kind:
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, repeated = content
            least, most = min(least, _MAX_VALUE_CHARS), min(most, _MAX_VALUE_CHARS)
            return int((most - least + 1) * _ways(repeated) ** most)
        case "BRANCH":
            return sum(_ways(one) for one in content[1])
        case "SUBPATTERN" | "ASSERT" | "ASSERT_NOT":
            return _ways(content[-1])
        case "ATOMIC_GROUP":
            return _ways(content)
        case "GROUPREF_EXISTS":
            return _ways(content[1]) + _ways(content[2] or ())
    return 1
