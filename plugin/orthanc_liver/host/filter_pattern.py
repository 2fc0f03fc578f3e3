"""Regular expressions of the setting Filter, which must not hold Python's global lock for long."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _parser  # type: ignore[attr-defined] # as old as re, but without a stub
from typing import Any

# Longer than any one value of a main tag.
_MAX_VALUE_CHARS = 256
# Of matching: a second at the most. Two ".*" with a word behind take 20 million, three 180 million.
_MAX_STEPS = 100_000_000

# By how many characters are left, the most steps that matching may take from there on.
Steps = list[int]


class _TooManySteps(ArithmeticError):
    """There is no need to count on."""


def problem_of(pattern: str) -> str | None:
    """Why a pattern cannot be used, else None."""
    try:
        re.compile(pattern)
        _checked([sum(_steps(_parser.parse(pattern), [1] * (_MAX_VALUE_CHARS + 1)))])
    except (re.error, RecursionError, OverflowError) as error:
        return f"{pattern!r} is no regular expression ({error})"
    except _TooManySteps:
        return (
            f"{pattern!r} could take minutes to match: write it without repeats within repeats, "
            "with no more than two of * and +, and with few of ? and |"
        )
    return None


def is_found(pattern: str, value: str) -> bool:
    """Whether a pattern without a problem is found in the beginning of a value."""
    return re.search(pattern, value[:_MAX_VALUE_CHARS]) is not None


def _steps(items: Iterable[tuple[Any, Any]], after: Steps) -> Steps:
    """An upper bound for these items and then what takes `after`; no value is what matches least:
    every item may fit every character."""
    for kind, content in reversed(list(items)):
        after = _checked(_steps_of(str(kind), content, after))
    return after


def _steps_of(kind: str, content: Any, after: Steps) -> Steps:
    match kind:
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, repeated = content
            return _repeated(least, most, repeated, after)
        case "BRANCH":
            return _one_of(content[1], after)
        case "GROUPREF_EXISTS":
            return _one_of([content[1], content[2] or ()], after)
        case "SUBPATTERN" | "ATOMIC_GROUP":
            return _steps(content[-1] if kind == "SUBPATTERN" else content, after)
        case "ASSERT" | "ASSERT_NOT":
            return _sum(_steps(content[-1], [1] * len(after)), after)
    return _of_one_item(kind, after)


def _of_one_item(kind: str, after: Steps) -> Steps:
    if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
        return [1, *(1 + steps for steps in after[:-1])]
    # A reference to a group compares all that is left, or nothing.
    return [1 + (left if kind == "GROUPREF" else 0) + steps for left, steps in enumerate(after)]


def _one_of(alternatives: Iterable[Any], after: Steps) -> Steps:
    """Of those that begin with different letters, a value goes on with one alone."""
    everywhere = [1] * len(after)
    by_letter = {"": everywhere}
    for one in alternatives:
        kind, first = one[0] if one else ("", 0)
        letter = chr(first).casefold() if str(kind) == "LITERAL" else ""
        by_letter[letter] = _sum(by_letter.get(letter, everywhere), _steps(one, after))
    anything = by_letter.pop("")
    most = [max(each) for each in zip(everywhere, *by_letter.values(), strict=True)]
    return _sum(anything, most)


def _repeated(least: int, most: int, repeated: Any, after: Steps) -> Steps:
    times = min(most, _MAX_VALUE_CHARS) - min(least, _MAX_VALUE_CHARS)
    total = after
    for _ in range(times):
        before, total = total, _checked(_sum(after, _steps(repeated, total)))
        if total == before:
            break
    for _ in range(min(least, _MAX_VALUE_CHARS)):
        before, total = total, _steps(repeated, total)
        if total == before:
            break
    return total


def _sum(*ways: Steps) -> Steps:
    return [sum(each) for each in zip(*ways, strict=True)]


def _checked(steps: Steps) -> Steps:
    if max(steps) > _MAX_STEPS:
        raise _TooManySteps
    return steps
