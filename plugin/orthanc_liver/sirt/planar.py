"""What polygons on one plane enclose together: exact areas, nothing counted twice.

A polygon is its edges; inside is where a ray crosses them an odd number of times, so a keyhole's
hole is open whichever way it runs, and one that crosses itself is counted as far as it can be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, combinations, pairwise
from math import dist

Flat = tuple[float, float]
Edge = tuple[Flat, Flat]
Polygon = tuple[Edge, ...]
# Polygons that overlap in part, and so are one.
Region = list[Polygon]
Rule = Callable[[Sequence[bool]], bool]

# Less of the smaller polygon than this is rounding, not overlap.
_ROUNDING = 1e-3
# Two that lie no further apart on the whole are one, rounded or walked in other steps: half of the
# smallest pixel, so nobody drew the rim between them.
_SAME_MM = 0.2


def polygon(points: Sequence[Flat]) -> Polygon:
    """The closed path's edges; a path that is walked several times counts once."""
    around = zip(points, [*points[1:], *points[:1]], strict=True)
    edges = [edge for edge in around if edge[0] != edge[1]]
    walks = Counter(map(frozenset, edges))
    if walks and min(walks.values()) > 1:
        edges = list({frozenset(edge): edge for edge in edges}.values())
    return tuple(edges)


def regions(polygons: Iterable[Polygon], *, exclusive: bool = False) -> list[Region]:
    """Those that overlap in part are one region; one wholly inside another is one of its own.

    Repeats count once, rounded or walked in other steps too. exclusive: each is a region of its
    own, however they lie.
    """
    found: list[Region] = []
    for one in {frozenset(map(frozenset, edges)): edges for edges in polygons}.values():
        in_both = {p: _in_both(one, p) for region in found for p in region}
        if any(_is_repeat(one, p, both) for p, both in in_both.items()):
            continue
        joined = (
            [] if exclusive else [r for r in found if any(_overlap(one, p, in_both[p]) for p in r)]
        )
        found = [r for r in found if r not in joined]
        found.append([one, *(p for region in joined for p in region)])
    return found


def crosses_itself(one: Polygon) -> bool:
    """Whether the path's own sum of areas is another than that of what lies inside."""
    twice = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in one)
    inside = _inside(one)
    return abs(abs(twice) / 2 - inside) > _ROUNDING * max(inside, abs(twice) / 2)


def enclosed(found: Sequence[Region]) -> float:
    """The area in an odd number of regions: holes are open, islands in them count."""
    polygons = [p for region in found for p in region]
    if len(polygons) == 1:
        return _inside(polygons[0])
    return area(polygons, _odd_of([len(region) for region in found]))


def covered(found: Sequence[Region]) -> float:
    """The area that the outermost enclose, holes included."""
    return area([p for region in found for p in region], any)


def shared(some: Sequence[Region], others: Sequence[Region]) -> float:
    """The area that both enclose."""
    in_some = _odd_of([len(region) for region in some])
    in_others = _odd_of([len(region) for region in others])
    count = sum(len(region) for region in some)
    polygons = [p for region in (*some, *others) for p in region]
    return area(polygons, lambda inside: in_some(inside[:count]) and in_others(inside[count:]))


def area(polygons: Sequence[Polygon], counts: Rule) -> float:
    """The area of all points for which counts is true of which polygons they are in.

    Strips lie between neighbouring corners and crossings, so that within one the covered length
    changes evenly, and its middle tells all.
    """
    heights = sorted({y for one in polygons for edge in one for _, y in edge})
    waiting = sorted(_rising(polygons), reverse=True)
    active: list[_Rising] = []
    total = 0.0
    for low, high in pairwise(heights):
        active = [edge for edge in active if edge[1] > low]
        while waiting and waiting[-1][0] <= low:
            active.append(waiting.pop())
        for below, above in pairwise(_with_crossings(active, low, high)):
            total += (above - below) * _covered(active, (below + above) / 2, len(polygons), counts)
    return total


def comparisons(polygons: Sequence[Polygon]) -> int:
    """How many pairs of edges `area` looks at for these, each in both orders."""
    heights = sorted({y for one in polygons for edge in one for _, y in edge})
    strip = {y: number for number, y in enumerate(heights)}
    change = [0] * len(heights)
    for low_y, high_y, *_ in _rising(polygons):
        change[strip[low_y]] += 1
        change[strip[high_y]] -= 1
    return sum(active**2 for active in accumulate(change))


# Lower and upper end, x at the lower, its change with y, and which polygon it is of.
_Rising = tuple[float, float, float, float, int]


def _rising(polygons: Sequence[Polygon]) -> Iterator[_Rising]:
    for number, one in enumerate(polygons):
        for (x0, y0), (x1, y1) in one:
            if y0 != y1:
                low_y, low_x = min((y0, x0), (y1, x1))
                yield low_y, max(y0, y1), low_x, (x1 - x0) / (y1 - y0), number


def _with_crossings(active: Sequence[_Rising], low: float, high: float) -> list[float]:
    cuts = {low, high}
    for one, other in combinations(active, 2):
        before, after = (_x_at(one, y) - _x_at(other, y) for y in (low, high))
        if before * after < 0:
            cuts.add(low + (high - low) * before / (before - after))
    return sorted(cuts)


def _covered(active: Sequence[_Rising], y: float, count: int, counts: Rule) -> float:
    inside = [False] * count
    total = 0.0
    crossings = sorted((_x_at(edge, y), edge[4]) for edge in active)
    for (x, number), (next_x, _) in pairwise(crossings):
        inside[number] = not inside[number]
        if counts(inside):
            total += next_x - x
    return total


def _x_at(edge: _Rising, y: float) -> float:
    return edge[2] + edge[3] * (y - edge[0])


@lru_cache(maxsize=16)
def _inside(one: Polygon) -> float:
    return area([one], any)


def _odd_of(sizes: Sequence[int]) -> Rule:
    """Whether a point lies in an odd number of regions of so many polygons each."""
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    spans = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return lambda inside: sum(any(inside[span]) for span in spans) % 2 == 1


def _in_both(one: Polygon, other: Polygon) -> float:
    return area([one, other], all) if _boxes_meet(one, other) else 0.0


def _is_repeat(one: Polygon, other: Polygon, both: float) -> bool:
    """Whether what only one of them encloses is a rim too thin to be meant."""
    if not both:
        return False
    apart = _inside(one) + _inside(other) - 2 * both
    return apart < _SAME_MM * min(_length(one), _length(other))


def _overlap(one: Polygon, other: Polygon, both: float) -> bool:
    """Whether they overlap in part: not apart, and neither wholly inside the other."""
    if not both:
        return False
    smaller = min(_inside(one), _inside(other))
    return _ROUNDING * smaller < both < (1 - _ROUNDING) * smaller


def _length(one: Polygon) -> float:
    return sum(dist(*edge) for edge in one)


def _boxes_meet(one: Polygon, other: Polygon) -> bool:
    for axis in (0, 1):
        some, others = ([end[axis] for edge in p for end in edge] for p in (one, other))
        if not some or not others or max(some) <= min(others) or max(others) <= min(some):
            return False
    return True
