"""The field: a table of all audits that a reader sorts and filters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kvverify.report.site_bounds import Shape, reached, shape_of
from kvverify.report.site_evidence import bits, described, right, share, verdict, within
from kvverify.report.site_html import Html, element
from kvverify.report.site_plot import bars, mark
from kvverify.report.site_read import Played

_JOINTS = re.compile(r"(?<=[:./_])(?=\w)")
"""Where a long name may be broken."""

Audit = Mapping[str, Any]
Shown = tuple[Fraction | float | None, str]
"""A figure to sort by, None where it is unknown, and its text."""


@dataclass(frozen=True)
class _Column:
    name: str
    unit: str
    figure: Callable[[Audit], Shown]


def per_scalar(one: Played) -> Fraction | None:
    """Bits on the wire for each scalar of keys and values; None where the audit did not end."""
    return None if one.audit is None or not one.audit["curve"] else _per_scalar(one.audit)


def field(rows: Sequence[tuple[int, Played]], letters: Mapping[Shape, str]) -> Html:
    """The section. ``letters``: what a class is called, told where there are several."""
    ended = [one.audit for _, one in rows if one.audit and one.audit["curve"]]
    tolerances = {within(audit) for audit in ended}
    columns = _columns(tolerances.pop() if len(tolerances) == 1 else None)
    named = letters if len(letters) > 1 else {}
    placed = any(audit["recovery"] for audit in ended)
    head = [
        _head("method"), *([_head("class")] if named else []), _head("verdict"),
        *(_head(one.name, one.unit, number=True, first=one is columns[0]) for one in columns),
        *([_head("right reads", "oldest token first", sort=False)] if placed else []),
    ]  # fmt: skip
    body = [element("tr", _row(number, one, columns, named, placed), data_row=number) for number, one in rows]
    search = element("input", type="search", id="filter", placeholder="name, setting or flag", autocomplete="off")
    tools = element(
        "div",
        element("label", "Show only", search, id="filters", hidden=True),
        element("p", f"{len(rows):,} audits", id="shown", class_="soft", aria_live="polite"),
        class_="tools",
    )
    table = element(
        "table",
        element("caption", "All audits, the least bits a scalar first", class_="unseen"),
        element("thead", element("tr", head)),
        element("tbody", body),
        id="field",
    )
    frame = element("div", table, class_="scroll", tabindex="0", role="region", aria_label="The field, a wide table")
    return element("section", element("h2", "The field"), tools, frame)


def _columns(common: str | None) -> list[_Column]:
    """``common``: the tolerance of all audits, where it is one."""

    def off(audit: Audit) -> Shown:
        asked = audit["reads_asked"]
        wrong = min(audit["wrong_reads"], asked)
        return Fraction(wrong, asked), share(wrong, asked) + ("" if common else f" of {within(audit)}")

    def best(audit: Audit) -> Shown:
        error = reached(audit)
        return (Fraction(1), "> 1/2") if error is None else (error, str(error))

    def largest(audit: Audit) -> Shown:
        error = audit["max_abs_error"]
        return error, "NaN" if error is None else f"{error:.3f}" if error >= 0.0995 else f"{error:.2g}"

    def scalar(audit: Audit) -> Shown:
        rate = _per_scalar(audit)
        return rate, f"{float(rate):.2f}" if rate < 100 else bits(rate)

    def rate(name: str) -> Callable[[Audit], Shown]:
        def told(audit: Audit) -> Shown:
            value = None if audit[name] is None else Fraction(audit[name], audit["instance"]["tokens"])
            return value, bits(value)

        return told

    return [
        _Column("bits a scalar", "of the wire", scalar),
        _Column("wire", "bits a token", rate("wire_bits")),
        _Column("held", "bits a token", rate("held_bits")),
        _Column("live", "bits a token", rate("live_bits")),
        _Column("claimed", "bits a token", rate("claimed_bits")),
        _Column("came back", "bits a token", rate("certified_floor_bits")),
        _Column("off", f"by > {common}" if common else "by more than", off),
        _Column("9 of 10", "reads within", best),
        _Column("largest", "error", largest),
    ]


def _per_scalar(audit: Audit) -> Fraction:
    return Fraction(16 * audit["wire_bits"], audit["dense_bits"])


def _head(name: str, unit: str = "", *, number: bool = False, first: bool = False, sort: bool = True) -> Html:
    kind = ("number" if number else "text") if sort else None
    return element(
        "th", element("span", name), element("small", unit) if unit else "", scope="col", data_sort=kind,
        class_="n" if number else None, aria_sort="ascending" if first else None,
    )  # fmt: skip


def _row(
    number: int, one: Played, columns: Sequence[_Column], letters: Mapping[Shape, str], placed: bool
) -> Iterator[Html]:
    audit, shape = one.audit if one.audit and one.audit["curve"] else None, shape_of(one)
    parts = _JOINTS.split(one.name)
    name = element("a", parts[0], (piece for part in parts[1:] for piece in (element("wbr"), part)), href=f"#a{number}")
    yield element("th", name, element("small", described(one)), scope="row")
    if letters:
        yield element("td", letters[shape] if shape else "–", title=str(shape) if shape else None)
    yield element("td", mark(one.status), verdict(one), class_="verdict")
    for column in columns:
        value, told = column.figure(audit) if audit else (None, "–")
        yield element("td", told, class_="n", data_value=None if value is None else float(value))
    if placed:
        where = audit and audit["recovery"]
        yield element("td", bars(right(where), 20, f"right reads of {one.name}", "spark") if where else "–")
