"""Write what the ledger says: certificates/PAPER/*.json, docs/ledger.md and README's table of findings, bit for bit.

``python scripts/make_ledger.py [--check] [FOLDER]``. With ``--check`` nothing is written: exit code 1, and one line a
file, where a file is not what it would be, or lies in a paper's folder without a row. ``FOLDER`` is the root of the
checkout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kvverify.claims.ledger import CLAIMS, PAPERS, judge, place
from kvverify.claims.page import findings, page
from kvverify.kernel.document import write_bytes

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- findings: begin, written by scripts/make_ledger.py -->\n", "<!-- findings: end -->\n"


def files(root: Path) -> dict[Path, bytes]:
    """Every file with its content. README keeps all but the lines between its two marks."""
    entries = [judge(claim) for claim in CLAIMS]
    found = {
        root / "certificates" / place(entry.claim, one.certificate): (json.dumps(one.tree, indent=1) + "\n").encode()
        for entry in entries
        for one in entry.found
    }
    found[root / "docs" / "ledger.md"] = page(entries).encode()
    readme = root / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        found[readme] = f"{before}{BEGIN}{findings(entries)}{END}{after}".encode()
    return found


def strangers(root: Path, wanted: dict[Path, bytes]) -> list[Path]:
    """Files in the papers' folders that no row has."""
    there = [path for paper in PAPERS for path in (root / "certificates" / paper).glob("*.json")]
    return sorted(set(there) - wanted.keys())


def main(words: list[str]) -> int:
    """Write all files, or compare them; the exit code."""
    root = Path(next((word for word in words if word != "--check"), ROOT))
    wanted = files(root)
    wrong = [path for path, data in wanted.items() if not path.is_file() or path.read_bytes() != data]
    left = strangers(root, wanted)
    if "--check" in words:
        for path in [*wrong, *left]:
            print(f"{path.relative_to(root)} is not what the ledger says: python scripts/make_ledger.py")
        return 1 if wrong or left else 0
    for path in wrong:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, wanted[path])
        print(path.relative_to(root))
    for path in left:
        path.unlink()
        print(f"{path.relative_to(root)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
