"""PDFs as they come from vl-convert, in one order: it writes fonts, forms and states as chance will.

No library that we depend on rewrites PDFs, and these are plain ones: one table, no object streams.
"""

import re
from itertools import accumulate, pairwise

REFERENCE = re.compile(rb"(\d+) 0 R")
ENTRIES = re.compile(rb"(?: */[a-z]{2}\d+ \d+ 0 R\n)+")


def ordered(pdf: bytes) -> bytes:
    """The same PDF with its objects numbered as its pages come to speak of them.

    The names in a page's dictionaries do not depend on chance, and are sorted.
    """
    table = pdf.rindex(b"xref\n", 0, pdf.rindex(b"startxref"))
    starts = [int(start) for start in re.findall(rb"(\d{10}) \d{5} n", pdf[table:])]
    ends = dict(pairwise(sorted([*starts, table])))
    objects = {i: _sorted(pdf[start : ends[start]]) for i, start in enumerate(starts, 1)}
    trailer = pdf[table:].partition(b"trailer")[2].partition(b"startxref")[0]
    numbers: dict[int, int] = {}
    todo = _references(trailer)[::-1]
    while todo:
        number = todo.pop()
        if number not in numbers:
            numbers[number] = len(numbers) + 1
            todo += _references(_head(objects[number]))[::-1]
    parts = [pdf[: min(starts)], *(_renumbered(objects[old], old, numbers) for old in numbers)]
    places = list(accumulate(map(len, parts)))
    entries = [b"0000000000 65535 f\r\n", *(b"%010d 00000 n\r\n" % place for place in places[:-1])]
    count = len(entries)
    trailer = re.sub(rb"/Size \d+", b"/Size %d" % count, _renumbered(trailer, 0, numbers))
    end = b"xref\n0 %d\n%btrailer%bstartxref\n%d\n%%%%EOF" % (
        count,
        b"".join(entries),
        trailer,
        places[-1],
    )
    return b"".join([*parts, end])


def _head(content: bytes) -> bytes:
    return content.partition(b"stream\n")[0]


def _references(text: bytes) -> list[int]:
    return [int(number) for number in REFERENCE.findall(text)]


def _sorted(content: bytes) -> bytes:
    head, *rest = content.partition(b"stream\n")
    head = ENTRIES.sub(lambda match: b"".join(sorted(match[0].splitlines(True))), head)
    return b"".join([head, *rest])


def _renumbered(content: bytes, old: int, numbers: dict[int, int]) -> bytes:
    head, *rest = content.partition(b"stream\n")
    head = REFERENCE.sub(lambda match: b"%d 0 R" % numbers[int(match[1])], head)
    head = re.sub(rb"\A%d 0 obj" % old, b"%d 0 obj" % numbers.get(old, 0), head)
    return b"".join([head, *rest])
