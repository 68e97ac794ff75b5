"""HTML that cannot be injected into: elements are built, and whatever is not already an element is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape

from kvverify.report.checks import printable

_VOID = frozenset({"meta", "input", "wbr"})


class Html(str):
    """Markup of ours. Every other string is text, and becomes markup in ``element`` only, escaped."""

    __slots__ = ()


def element(name: str, /, *children: str | Iterable[str], **attributes: object) -> Html:
    """``<name>`` with children (strings, or iterables of them) and attributes.

    ``class_`` is class, ``data_value`` is data-value; None and False leave an attribute out, True sets it bare.
    """
    pairs = ""
    for key, value in attributes.items():
        if value is not None and value is not False:
            key = key.rstrip("_").replace("_", "-")
            pairs += f" {key}" if value is True else f' {key}="{escape(printable(str(value)))}"'
    opening = f"<{name}{pairs}>"
    return Html(opening if name in _VOID else f"{opening}{join(*children)}</{name}>")


def join(*children: str | Iterable[str]) -> Html:
    """Children one after the other, text escaped."""
    parts = (part for child in children for part in ((child,) if isinstance(child, str) else child))
    return Html("".join(part if isinstance(part, Html) else escape(printable(part)) for part in parts))


def page(title: str, style: str, script: str, body: Html) -> bytes:
    """A whole document that loads nothing: its policy allows this style and this script, by their hashes, alone."""
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Html(f"<style>{style}</style>"),
    )
    foot = Html(f"<script>{script}</script>")
    return ("<!doctype html>\n" + element("html", head, element("body", body, foot), lang="en") + "\n").encode()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
