"""``python -m kvverify`` is the command ``kvverify``."""

from __future__ import annotations

from kvverify.cli import main

if __name__ == "__main__":
    main()
