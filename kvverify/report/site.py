"""One page of audits: plots, table, evidence, and the ledger. It loads nothing, and runs nothing that results bring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from importlib.resources import files
from string import ascii_uppercase

from kvverify import __version__
from kvverify.claims.ledger import Entry
from kvverify.report.site_bounds import Curves, Shape, reached, shape_of
from kvverify.report.site_evidence import FLAGS, SIZES, bits, evidence, verdict
from kvverify.report.site_html import Html, element, page
from kvverify.report.site_ledger import ledger
from kvverify.report.site_plot import NARROW, WIDE, Point, mark, plot, swatch
from kvverify.report.site_read import Played, Results
from kvverify.report.site_table import field, per_scalar

Numbered = tuple[int, Played]

_LEGEND = {
    "values": "needed: whoever promises this error of value reads stores more, so nobody is in the shaded area",
    "all-reads": "needed for reads of keys as well; a game measures values alone, so points may lie below",
    "enough": "enough: a quantiser that keeps the promise of both stores so much",
    "dense": "the dense cache, 16 bits a scalar",
}
_CAPTION = (
    "Bits are totals over heads and layers, of the message on the wire. The kernel proved the curves for this page, at "
    "the ten tolerances, for failure 1/10 on all of the class; the lines between guide the eye. A point on the ground "
    "stores less than the scale shows."
)


def site_bytes(results: Results, curves: Mapping[Shape, Curves], entries: Sequence[Entry]) -> bytes:
    """The page. ``curves``: the classes to draw; ``entries``: the rows of the ledger, judged (without any, no ledger).

    The same results make the same bytes.
    """
    rows = sorted(enumerate(results.shown, 1), key=_order)
    classes = dict.fromkeys([*curves, *filter(None, (shape_of(one) for _, one in rows))])
    letters = {shape: _letter(place) for place, shape in enumerate(classes)}
    sections = [
        _head(results),
        *([_plots(curves, letters, rows)] if curves else []),
        field(rows, letters),
        element("section", element("h2", "Evidence"), (evidence(number, one) for number, one in rows), id="evidence"),
        *([ledger(entries)] if entries else []),
        _words(),
    ]
    title = f"{_many(results.read)} of KV-cache compressors"
    return page(title, _part("site.css"), _part("site.js"), element("main", sections))


def _part(name: str) -> str:
    return (files("kvverify.report") / name).read_text(encoding="utf-8")


def _order(row: Numbered) -> tuple[bool, Fraction, int]:
    """What ended comes first, the least bits a scalar at the top."""
    rate = per_scalar(row[1])
    return rate is None, rate or Fraction(0), row[0]


def _letter(place: int) -> str:
    return ascii_uppercase[place] if place < len(ascii_uppercase) else str(place + 1)


def _many(audits: int) -> str:
    return f"{audits:,} audit{'' if audits == 1 else 's'}"


def _head(results: Results) -> Html:
    names = list(dict.fromkeys(results.files))
    source = ", ".join(names) if len(names) <= 3 else f"{len(names)} files"
    lead = (
        f"{_many(results.read)} from {source}, by kvverify {__version__}. Each is a game: one process stores keys and "
        "values that carry a secret; another answers queries from the stored message, and from nothing else."
    )
    counts = [
        element("li", mark(status), element("b", f"{count:,}"), f" {status}")
        for status, count in results.counts().items()
    ]
    flags = [element("li", element("b", f"{count:,}"), f" {flag}") for flag, count in results.flags.most_common()]
    notes = list(results.notes)
    if results.read > len(results.shown):
        notes.append(
            f"Counts are of all {_many(results.read)}. Plots, table and evidence show the first "
            f"{len(results.shown):,}; --most shows more."
        )
    return element(
        "header",
        element("h1", "What compressors hold, and what comes back"),
        element("p", lead, class_="lead"),
        element("ul", counts, class_="counts"),
        element("ul", flags, class_="counts flagged") if flags else "",
        (element("p", note, class_="message") for note in notes),
    )


def _plots(curves: Mapping[Shape, Curves], letters: Mapping[Shape, str], rows: Sequence[Numbered]) -> Html:
    """Every class that is drawn, below one legend."""
    several = len(letters) > 1
    drawn = [
        _plot(f"{f'Class {letters[shape]}: ' if several else ''}{shape}", shape, lines, rows)
        for shape, lines in curves.items()
    ]
    legend = [
        element("li", mark("NO FLAG"), "an audit without a flag"),
        element("li", mark("FLAGGED"), "one with a flag"),
    ]
    known = {"dense", *(name for lines in curves.values() for name in lines.lines)}
    legend += [element("li", swatch(name), words) for name, words in _LEGEND.items() if name in known]
    left_out = len(letters) - len(curves)
    more = f" {left_out} more class(es) of instances are not drawn; --classes draws more." if left_out else ""
    return element(
        "section",
        element("h2", "Bits against error"),
        element("div", element("ul", legend, class_="legend"), element("p", _CAPTION + more, class_="soft")),
        element("div", drawn),
        id="plots",
    )


def _plot(title: str, shape: Shape, curves: Curves, rows: Iterable[Numbered]) -> Html:
    points, dense = [], Fraction(0)
    for number, one in rows:
        if one.audit is None or shape_of(one) != shape:
            continue
        dense = Fraction(one.audit["dense_bits"], shape.tokens)
        error, stored = reached(one.audit), Fraction(one.audit["wire_bits"], shape.tokens)
        told = f"{bits(stored)} bits a token; 9 of 10 reads within {error or 'no tolerance up to 1/2'}; {verdict(one)}"
        points.append(Point(number, one.label, error, float(stored), one.status == "FLAGGED", told))
    pictures = (plot(points, curves, float(dense), canvas) for canvas in (WIDE, NARROW))
    why = element("p", f"No curves: {curves.reason}.", class_="soft") if curves.reason else ""
    return element("figure", element("figcaption", element("h3", title), why), pictures)


def _words() -> Html:
    def table(words: Iterable[tuple[str, str]]) -> Html:
        return element(
            "dl", (part for word, meaning in words for part in (element("dt", word), element("dd", meaning)))
        )

    limits = (
        "The instance is the worst case of a class, not text: an error here says nothing about average quality on "
        "text. Values carry the whole secret, so a game says little about how well keys are kept."
    )
    return element(
        "section",
        element("h2", "Words"),
        element("h3", "Sizes"),
        table(SIZES.values()),
        element("h3", "Flags"),
        table(FLAGS.items()),
        element("p", limits, class_="soft"),
        id="words",
    )
