"""What is written on the pictures and pages of a result, in the letters that their fonts have."""

from __future__ import annotations

import unicodedata

from orthanc_liver.engine.protocol import DOUBTFUL, LOOK, SURE

FOR_REVIEW = "For review, not for diagnosis."
_OF_GRADE = {
    SURE: "Grade sure: no sign of doubt; review it like every outline.",
    LOOK: "Grade look: there is a sign of doubt; look first where the warnings say.",
    DOUBTFUL: "DOUBTFUL outline: do not use it before a person has judged it.",
}


def grade_line(grade: str) -> str:
    """The grade with what it asks for; empty: of a result that has none."""
    return _OF_GRADE.get(grade, "Without a grade: look at every slice.")


def in_letters_of(codec: str, text: str) -> str:
    """The text in a font's letters: without accents that it lacks, "?" for what is left then."""
    return "".join(_letter(codec, one) for one in text)


def _letter(codec: str, letter: str) -> str:
    for known in (letter, unicodedata.normalize("NFKD", letter)):
        if written := known.encode(codec, "ignore").decode(codec):
            return written
    return "?"
