"""What the page says of one audit, all of it: verdict, command, sizes, errors, places, settings."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from kvverify.report.checks import printable
from kvverify.report.site_bounds import Shape, reached
from kvverify.report.site_html import Html, element
from kvverify.report.site_plot import bar, bars, mark
from kvverify.report.site_read import Played

FLAGS = {
    "NOT A COMPRESSOR": "holds, or sends, at least as many bits as the dense cache",
    "BYTES > CLAIM": "holds, or sends, more bits than it claims",
    "CLAIM IMPOSSIBLE": "what is claimed lies below a certified lower bound: no compressor can keep it",
    "CLAIM REFUTED": "more reads are surely outside the claimed tolerance than the claim allows",
    "HIDDEN STATE": "answers depend on something that was not in the message",
}
"""As in docs/audit.md, in a line each."""
SIZES = {
    "dense_bits": ("dense", "16 bits a scalar"),
    "claimed_bits": ("claimed", "what it says of itself, or what --claim says"),
    "held_bits": ("held", "storages behind the message's tensors, whole; the player says so"),
    "readable_bits": ("readable", "the elements that these tensors show; the player says so"),
    "wire_bits": ("on the wire", "the message, counted by the referee"),
    "live_bits": ("live", "the wire without tensors that no answer depends on; the player says so"),
    "certified_floor_bits": (
        "came back", "what the answers surely carry: a smaller message does so with probability 2^-40 at most",
    ),
    "certificate_bits_at_least": (
        "certificate", "what every compressor needs that promises the certificate's tolerance and failure for values",
    ),
}  # fmt: skip
"""Sizes in bits, their words, and who says so."""
_COLOURS = {"dense_bits": "open", "certified_floor_bits": "good", "certificate_bits_at_least": "good"}
_ENDED_EARLY = {
    "INCOMPLETE": "It did not come to an end", "REFUSED": "It cannot be played as it was asked for",
}  # fmt: skip
_MOST_HEADS = 256


def evidence(number: int, one: Played) -> Html:
    """The part of the page about one audit, closed until it is asked for."""
    parts = [_verdict(one), element("pre", element("code", one.command), tabindex="0", class_="command")]
    if (audit := one.audit) is not None:
        if audit["wire_bits"] is not None:
            parts.append(_sizes(audit))
        if audit["curve"]:
            parts += [_errors(audit), *_places(audit)]
        parts.append(_facts(audit))
    head = element(
        "summary", mark(one.status), element("b", one.name), " ", element("span", described(one), class_="soft"), " ",
        element("span", verdict(one), class_="verdict"),
    )  # fmt: skip
    return element("details", head, *parts, id=f"a{number}", class_="audit", data_row=number)


def described(one: Played) -> str:
    """Where an audit is from, and its settings."""
    source = [one.source] if one.source else []
    return ", ".join([*source, *(f"{name}={value}" for name, value in one.settings.items())])


def verdict(one: Played) -> str:
    """The flags, or the status where there is none."""
    flags = one.audit["flags"] if one.audit else []
    return ", ".join(flags) if flags and one.status == "FLAGGED" else one.status


def bits(value: int | float | Fraction | None) -> str:
    """A number of bits for people."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    size = float(value)
    return f"{size:,.0f}" if abs(size) >= 100 or size.is_integer() else f"{size:,.1f}"


def share(part: int, whole: int) -> str:
    """A share in per cent, which is 0 or 100 only where it is."""
    exact = Fraction(100 * part, whole)
    if 0 < exact < Fraction(1, 10):
        return "< 0.1 %"
    if Fraction(999, 10) < exact < 100:
        return "> 99.9 %"
    return f"{float(exact):.0f} %" if exact in (0, 100) else f"{float(exact):.1f} %"


def within(audit: Mapping[str, Any]) -> str:
    """The tolerance that wrong reads refer to."""
    return f"{audit['tolerance']}{' of the answer' if audit['tolerance_is_relative'] else ''}"


def _verdict(one: Played) -> Html:
    if one.status in _ENDED_EARLY:
        told = f". {_ENDED_EARLY[one.status]}: "
        return element(
            "p", element("b", one.status), told, element("code", one.reason or "no reason given"), class_="message"
        )
    flags = one.audit["flags"] if one.audit else []
    if not flags:
        return element("p", "No flag: none of the rules applies.")
    known = ((flag, FLAGS.get(flag, "a flag that this version does not know")) for flag in flags)
    return element("ul", (element("li", element("b", flag), f": {words}.") for flag, words in known), class_="flags")


def _sizes(audit: Mapping[str, Any]) -> Html:
    tokens, most = audit["instance"]["tokens"], max(audit[name] or 0 for name in SIZES) or 1
    rows = []
    for name, (word, _) in SIZES.items():
        size = audit[name]
        rows.append([
            element("th", word, scope="row"),
            _number(bits(size)),
            _number(bits(None if size is None else Fraction(size, tokens))),
            _bar((size or 0) / most, _COLOURS.get(name, "share")),
        ])  # fmt: skip
    return _table("Sizes", ("", "bits", "bits a token", ""), rows)


def _errors(audit: Mapping[str, Any]) -> Html:
    asked, best = audit["reads_asked"], reached(audit)
    rows = []
    for point in audit["curve"]:
        wrong = min(point["wrong_reads"], asked)
        told = element("small", "9 of 10 within") if point["tolerance"] == best else ""
        rows.append([
            element("th", str(point["tolerance"]), told, scope="row"),
            _number(f"{wrong:,}"), _number(share(wrong, asked)), _bar(wrong / asked, "flag"),
            _number(bits(point["floor_bits"])),
        ])  # fmt: skip
    of = f" (of {audit['reads']:,})" if asked < audit["reads"] else ""
    caption = f"Reads off by more than a tolerance, of {asked:,} asked{of}"
    return _table(caption, ("tolerance", "reads off", "share", "", "came back, bits"), rows)


def _places(audit: Mapping[str, Any]) -> Iterator[Html]:
    """Reads that came back right, along the stream and by head."""
    found = audit["recovery"]
    if found is None:
        return
    said = f"Reads right within {within(audit)} along the stream, in {len(found['first_tokens'])} bins"
    ends = ("oldest, token 0", f"newest, token {audit['instance']['tokens'] - 1:,}")
    yield element(
        "figure", element("figcaption", said), bars(right(found), 60, said, "places"),
        element("p", (element("span", end) for end in ends), class_="ends"),
    )  # fmt: skip
    heads = [(layer, head, wrong) for layer, wrongs in enumerate(found["wrong_reads_by_head"])
             for head, wrong in enumerate(wrongs)]  # fmt: skip
    if 1 < len(heads) <= min(_MOST_HEADS, audit["reads_asked"]):
        each = audit["reads_asked"] // len(heads)
        rows = []
        for layer, head, wrong in heads:
            fine = each - min(wrong, each)
            name = element("th", f"layer {layer}, head {head}", scope="row")
            rows.append([name, _number(share(fine, each)), _bar(fine / each, "share")])
        yield _table("Reads right by KV head", ("", "share", ""), rows)


def right(recovery: Mapping[str, Any]) -> list[float | None]:
    """The share of right reads in each bin of the stream; None where nothing was asked."""
    pairs = zip(recovery["reads_asked"], recovery["wrong_reads"], strict=True)
    return [None if not asked else 1 - wrong / asked for asked, wrong in pairs]


def _facts(audit: Mapping[str, Any]) -> Html:
    """Everything else that is known, in words."""
    settings, one, example = audit["settings"], audit["instance"], audit["counterexample"]
    error, slope, efficiency = audit["max_abs_error"], audit["wire_bits_slope"], audit["efficiency"]
    levels = f" of {one['alphabet']} levels" if one["alphabet"] else ""
    fresh = "fresh" if audit["fresh_secret"] else "not fresh (a given seed)"
    dead = (f"{part['place']} {bits(part['bits'])} bits" for part in audit["dead_tensors"] or [])
    made = "".join(f", {name} {one[name]}" for name in ("scales", "kernel", "cut") if one[name])
    facts = {
        "Instance": f"{Shape.of(one)}{made}; {one['heads']} query heads",
        "Secret": f"{one['payload']}{levels}, {fresh}",
        "Fed": ", ".join(filter(None, (audit["schedule"], settings["dtype"], settings["device"]))),
        "Largest error": f"at most {error:.4g}" if error is not None else "not a number" if audit["curve"] else "",
        "Came back of the wire": "" if efficiency is None else f"{100 * efficiency:.1f} %",
        "Each further token": "" if slope is None else f"{bits(slope)} bits on the wire",
        "Dead weight": "; ".join(dead),
        "Claim": _pairs(audit["claim"]),
        "Counter-example": f"kvverify replay {shlex.quote(printable(example))}" if example else "",
        "Isolation": audit["isolation_detail"] or audit["isolation"] or "",
        "Versions": _pairs(settings["versions"]),
        "Commit": settings["commit"] or "",
        "Public seed": "" if settings["seed"] is None else str(settings["seed"]),
        "Instance's certificate": one["certificate"] or "",
        "Seconds": _pairs(audit["seconds"]),
    }
    pairs = ((element("dt", name), element("dd", told)) for name, told in facts.items() if told)
    return element("dl", (part for pair in pairs for part in pair))


def _pairs(words: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in (words or {}).items())


def _number(told: str) -> Html:
    return element("td", told, class_="n")


def _bar(part: float, colour: str) -> Html:
    return element("td", bar(part, colour), class_="bars")


def _table(caption: str, head: tuple[str, ...], rows: list[list[Html]]) -> Html:
    top = element("tr", (
        element("th", word, scope="col", class_="n" if place else None) if word else element("td")
        for place, word in enumerate(head)
    ))  # fmt: skip
    body = element("tbody", (element("tr", row) for row in rows))
    table = element("table", element("caption", caption), element("thead", top), body)
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)
