"""What counts as here already, whatever came between the first attempt and the last."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from orthanc_liver.host.errors import NotAdmitted, NotPulledYet
from orthanc_liver.host.intake.paced import Pace
from orthanc_liver.host.intake.pull import Pull
from orthanc_liver.host.intake.sources import Found
from tests.plugin.host.paper import Paper


class Peer:
    """Sends one study of three slices to whoever fetches it; breaks: it fails once, after that."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.here = 1
        self.breaks = breaks

    def names(self, way: Any) -> list[str]:
        return ["pacs"]

    def find(self, wanted: Any) -> list[Found]:
        return [Found("1.2.3", "patient")]

    def fetch(self, wanted: Any, found: Found) -> str:
        self.here = 3
        return "job"

    def has_fetched(self, wanted: Any, found: Found, job: str) -> bool:
        if self.breaks:
            self.breaks = False
            raise NotPulledYet("it broke off")
        return True

    def studies_here(self, found: Found) -> list[str]:
        return ["study"]

    def count_here(self, found: Found) -> int:
        return self.here


def refuse(series: str, door: Any) -> None:
    raise NotAdmitted(series)


def pull_of(paper: Any, peer: Any) -> Pull:
    queue: Any = SimpleNamespace(unfinished=lambda: 0)
    intake: Any = SimpleNamespace(offer=refuse)
    wanted: Any = SimpleNamespace(wanted=lambda study: ["series"])
    pull = Pull(paper, queue, intake, peer, wanted, Pace(0.0))
    pull.restore()
    return pull


def ask(pull: Pull, *numbers: str) -> None:
    pull.ask({"Modality": "pacs", "AccessionNumbers": list(numbers)})


def already_here(pull: Pull) -> int:
    """At its end."""
    for _ in range(20):
        pull._turn()
    shown = pull.show() or {}
    assert (shown["State"], shown["Failed"]) == ("Done", 0)
    return int(shown["AlreadyHere"])


def test_what_comes_is_not_here_already_and_what_comes_again_is() -> None:
    pull = pull_of(Paper(), Peer())
    ask(pull, "A", "B")
    assert already_here(pull) == 1
    ask(pull, "A")
    assert already_here(pull) == 1


def test_what_came_before_a_restart_was_not_here_already() -> None:
    paper, peer = Paper(), Peer()
    before = pull_of(paper, peer)
    ask(before, "A")
    before._turn()
    assert peer.here == 3
    assert already_here(pull_of(paper, peer)) == 0


def test_what_came_before_a_transfer_broke_off_was_not_here_already() -> None:
    pull = pull_of(Paper(), Peer(breaks=True))
    ask(pull, "A")
    assert already_here(pull) == 0
