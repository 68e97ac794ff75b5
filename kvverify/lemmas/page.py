"""The tables of docs/lemmas.md, from the lemmas themselves: ``python -m kvverify.lemmas.page docs/lemmas.md``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from kvverify.kernel.document import write_bytes
from kvverify.lemmas.base import Lemma
from kvverify.lemmas.kernel import certificates
from kvverify.lemmas.statements import LEMMAS, SECTIONS

MARK = "<!-- what follows is written by python -m kvverify.lemmas.page docs/lemmas.md -->\n"
_COLUMNS = "| lemma | says | where | then | false twin | carries |\n|---|---|---|---|---|---|\n"


def tables() -> str:
    """All that follows the mark: one line a lemma, then what stands for exp."""
    judged = sum(bool(certificates(lemma)) for lemma in LEMMAS)
    parts = [f"{len(LEMMAS)} lemmas, {judged} of them with certificates that the kernel checks as well.\n"]
    for title, lemmas in SECTIONS.items():
        parts.append(f"## {title}\n\n{_COLUMNS}{''.join(map(_row, lemmas))}")
    envelopes = [
        f"- `{lemma.id}`: {envelope.symbol} is {_plain(envelope.means)}; {_plain(envelope.because)}."
        + (f" The kernel proves {', '.join(map(_formula, envelope.base))}." if envelope.base else "")
        for lemma in LEMMAS
        for envelope in lemma.envelopes
    ]
    parts.append("## What stands for exp\n\n" + "\n".join(envelopes) + "\n")
    return "\n".join(parts)


def renewed(page: str) -> str:
    """The page with its tables anew."""
    return f"{page.partition(MARK)[0]}{MARK}\n{tables()}"


def _row(lemma: Lemma) -> str:
    meanings = ", ".join(f"{name}: {meaning}" for name, meaning in lemma.symbols.items())
    domain = "integers; " if lemma.integers else ""
    given = f"{domain}{', '.join(map(_formula, lemma.given))}" or "-"
    twin = f"without {_formula(lemma.twin.without)}" if lemma.twin.without else _formula(lemma.twin.new)
    if lemma.twin.old:
        twin += f" for {_formula(lemma.twin.old)}"
    source = re.sub(r"^docs/(proofs/(\w+)\.md)", r"[\2](\1)", _plain(lemma.source))
    says = f"{_plain(lemma.says)} ({source})" + (f". {_plain(meanings)}" if meanings else "")
    return f"| `{lemma.id}` | {says} | {given} | {_formula(lemma.then)} | {twin} | {', '.join(lemma.carries)} |\n"


def _formula(text: str) -> str:
    return f"`{text.strip().replace('**', '^')}`"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    write_bytes(place, renewed(place.read_text()).encode())
