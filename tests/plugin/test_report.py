"""What a report says of a liver, and of none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from liver_unet.grade import Doubt, Grade, Region
from liver_unet.liver import Liver, NoLiver
from liver_unet.stages import Stages
from liver_unet.volume import Grid
from orthanc_liver.engine.protocol import GRADES
from orthanc_liver.pipeline import report
from tests.support.threshold_engine import on_cpu


def liver_of(ml: float) -> Liver:
    """A block that starts at the first slice."""
    slices = round(ml / 10)
    grid = Grid((slices + 3, 40, 50), np.diag([5.0, 2.0, 1.0, 1.0])[[2, 1, 0, 3]])
    box = (slice(0, slices), slice(5, 25), slice(10, 60))
    return Liver(np.full((slices, 20, 50), 0.9, dtype=np.float32), box, grid)


@pytest.mark.parametrize(("ml", "usual"), [(490, False), (510, True), (4990, True), (5010, False)])
def test_an_unusual_volume_is_told_beside_what_else_is_to_be_told(ml: float, usual: bool) -> None:
    told = report(on_cpu(), ("the series' own",), Stages(), liver_of(ml))
    assert (told["outcome"], told["liver_ml"]) == ("segmented", ml)
    first, second, *others = told["warnings"]
    assert first == "the series' own"
    assert second.startswith("liver touches the bottom")
    sentence = f"the liver measures {ml} mL, outside the usual 500-5000 mL: check the outline"
    assert others == ([] if usual else [sentence])
    assert "no_liver" not in told


def test_how_far_the_outline_can_be_trusted() -> None:
    doubt = Doubt(
        Grade.SURE, {"unsure_share": 0.03456}, (), (Region(41, 66, 12.34), Region(9, 12, 2.5))
    )
    told = report(on_cpu(), (), Stages(), replace(liver_of(1500), doubt=doubt))
    assert (told["grade"], told["unsure_share"]) == ("sure", 0.0346)
    assert told["look_at"] == [{"slices": [41, 66], "ml": 12.3}, {"slices": [9, 12], "ml": 2.5}]
    unusual = report(on_cpu(), (), Stages(), replace(liver_of(490), doubt=doubt))
    assert unusual["grade"] == "look"
    reason = replace(doubt, grade=Grade.DOUBTFUL, reasons=("the outline is doubtful: ...",))
    told = report(on_cpu(), (), Stages(), replace(liver_of(490), doubt=reason))
    assert told["grade"] == "doubtful"
    assert told["warnings"][0] == "the outline is doubtful: ..."
    assert "grade" not in report(on_cpu(), (), Stages(), liver_of(1500))


def test_both_sides_of_the_border_know_the_same_grades() -> None:
    assert tuple(grade.word for grade in Grade) == GRADES


def test_without_a_liver_it_says_why() -> None:
    none = NoLiver("what was seen is as dark as fat", 812.3456)
    told = report(on_cpu(), ("the series' own",), Stages(), none)
    assert (told["outcome"], told["liver_ml"]) == ("no liver found", None)
    assert told["no_liver"] == {"reason": "what was seen is as dark as fat", "seen_ml": 812.35}
    assert told["warnings"] == ["the series' own"]
    json.dumps(told)
