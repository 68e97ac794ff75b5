"""A certificate's proof as a page of plain sentences with numbers.

``explanation.py`` checks and gathers, ``page.py`` puts it in order, ``render.py`` writes it down. The words of the
rules are tables: ``keys.py``, ``reads.py``, ``bits.py``, ``enough.py``.
"""

from __future__ import annotations

from kvverify.report.explain.explanation import Explanation, explain, explain_bytes
from kvverify.report.explain.page import explain_json, page, verdict
from kvverify.report.explain.render import FORMATS

__all__ = ["FORMATS", "Explanation", "explain", "explain_bytes", "explain_json", "page", "verdict"]
