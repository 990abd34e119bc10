"""The text form of an explanation: plain characters, at most 100 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsrarec.explain.wording import (
    also_took,
    bridge_users,
    display_width,
    feature_name,
    number,
    plain,
    shorten,
    signed,
    wrap,
)

if TYPE_CHECKING:
    from mmsrarec.explain.explanation import Explanation, KeywordItem

__all__ = ["COLUMNS", "render_text"]

COLUMNS = 100
_TITLE_COLUMNS = 34
_BAR_COLUMNS = 24
_SHARED_COLUMNS = 50


def render_text(explanation: Explanation) -> str:
    """Write an explanation for a terminal.

    Parameters
    ----------
    explanation
        What to write.

    Returns
    -------
    str
        Lines of at most 100 columns. Matching keywords stand in [brackets].

    Examples
    --------
    >>> from mmsrarec.explain import Explanation, KeywordItem
    >>> print(render_text(Explanation("u1", (), (), KeywordItem("i2", "Scarf", ("wool",)), 0.8, 0.7, 1)))
    Why Scarf for user u1?
    ======================
    p(yes) 0.800   score 0.700   rank 1
    There is no history yet, so no keyword can match.
    <BLANKLINE>
    Keywords of Scarf
      wool
    """
    heading = shorten(f"Why {explanation.candidate.name} for {explanation.user_name}?", COLUMNS)
    lines = [heading, "=" * display_width(heading), _numbers(explanation)]
    lines += wrap(explanation.summary.split(), COLUMNS)
    lines += ["", shorten(f"Keywords of {explanation.candidate.name}", COLUMNS)]
    lines += [f"  {line}" for line in wrap(_keywords(explanation.candidate) or ["none"], COLUMNS - 2)]
    if explanation.history:
        lines += ["", "History, oldest first"]
        rows = [(f"{position:>4}", item) for position, item in enumerate(explanation.history, 1)]
        lines += _item_rows(rows)
    if explanation.neighbours:
        lines += ["", "What similar users took next (similarity)"]
        lines += _item_rows([(number(near.similarity, 2), near.item) for near in explanation.neighbours])
    if explanation.bridge_users:
        lines += ["", bridge_users(explanation.bridge_users)]
        lines += [
            f"  {also_took(shared.users, shorten(shared.item.name, _SHARED_COLUMNS))}"
            for shared in explanation.shared_items
        ]
    if explanation.features:
        lines += [
            "",
            "What moved the score (log-odds, against an average candidate)",
            *_feature_rows(explanation),
        ]
    for note in explanation.notes:
        lines += ["", *wrap(["Note:", *plain(note, limit=400).split()], COLUMNS)]
    return "\n".join(line.rstrip() for line in lines)


def _numbers(explanation: Explanation) -> str:
    parts = []
    if explanation.probability is not None:
        parts.append(f"p(yes) {number(explanation.probability)}")
    parts.append(f"score {number(explanation.score)}")
    if explanation.rank is not None:
        parts.append(f"rank {explanation.rank}")
    return "   ".join(parts)


def _keywords(item: KeywordItem) -> list[str]:
    ordered = sorted(item.keywords, key=lambda keyword: keyword not in item.matched)
    texts = [
        f"[{plain(keyword, limit=60)}]" if keyword in item.matched else plain(keyword, limit=60)
        for keyword in ordered
    ]
    return [f"{text}," for text in texts[:-1]] + texts[-1:]


def _item_rows(rows: Sequence[tuple[str, KeywordItem]]) -> list[str]:
    title_columns = min(_TITLE_COLUMNS, max(display_width(item.name) for _, item in rows))
    lines = []
    for label, item in rows:
        title = shorten(item.name, title_columns)
        start = f"  {label:>5}  {title}{' ' * (title_columns - display_width(title))}  "
        indent = display_width(start)
        first, *others = wrap(_keywords(item) or ["no", "keywords"], COLUMNS - indent)
        lines += [start + first, *(" " * indent + line for line in others)]
    return lines


def _feature_rows(explanation: Explanation) -> list[str]:
    finite = [abs(value) for value in explanation.features.values() if math.isfinite(value)]
    largest = max(finite, default=0.0)
    names = {name: shorten(feature_name(name), 40) for name in explanation.features}
    name_columns = max(display_width(name) for name in names.values())
    lines = []
    for name, value in sorted(explanation.features.items(), key=lambda pair: -abs(pair[1])):
        share = abs(value) / largest if largest and math.isfinite(value) else 0.0
        bar = ("+" if value >= 0 else "-") * round(share * _BAR_COLUMNS)
        padding = " " * (name_columns - display_width(names[name]))
        lines.append(f"  {names[name]}{padding}  {signed(value):>7}  {bar}")
    return lines
