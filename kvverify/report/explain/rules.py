"""All templates, by the name of the rule: one place for a rule's words."""

from __future__ import annotations

from kvverify.report.explain import bits, enough, keys, reads
from kvverify.report.explain.template import Template

TEMPLATES: dict[str, Template] = {**keys.TEMPLATES, **reads.TEMPLATES, **bits.TEMPLATES, **enough.TEMPLATES}
