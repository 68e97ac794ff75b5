"""``python -m kvverify.kernel FILE...``: check certificates on a bare Python.

Exit code 0: all VALID, 1: one is INVALID, 3: one is INCOMPLETE and none INVALID, 2: wrong usage.
"""

from __future__ import annotations

import sys

from kvverify.kernel.check import Verdict, check


def main(paths: list[str]) -> int:
    """One line for each certificate; the exit code."""
    if not paths or any(path.startswith("-") for path in paths):
        print("usage: python -m kvverify.kernel CERTIFICATE.json ...", file=sys.stderr)
        return 2
    verdicts = set()
    for path in paths:
        try:
            result = check(path)
        except OSError as error:
            print(f"cannot read {path}: {error.strerror}", file=sys.stderr)
            return 2
        verdicts.add(result.verdict)
        where = f" at step {result.step!r}" if result.step else ""
        print(f"{result.verdict.value} {path}: {result.claim}{where}{': ' if result.reason else ''}{result.reason}")
    if Verdict.INVALID in verdicts:
        return 1
    return 3 if Verdict.INCOMPLETE in verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
