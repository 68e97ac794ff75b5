"""All templates, by the name of the rule, and what tells a claim in words, by its kind: one place for both."""

from __future__ import annotations

from kvverify.report.explain import bits, compared, covers, enough, exact, keys, nets, reads, statement, tensor, visuals
from kvverify.report.explain.template import Teller, Template

TEMPLATES: dict[str, Template] = {
    **keys.TEMPLATES,
    **reads.TEMPLATES,
    **bits.TEMPLATES,
    **enough.TEMPLATES,
    **covers.TEMPLATES,
    **nets.TEMPLATES,
    **exact.TEMPLATES,
    **compared.TEMPLATES,
    **tensor.TEMPLATES,
    **visuals.TEMPLATES,
}
TOLD: dict[str, Teller] = {
    **statement.TOLD, **covers.TOLD, **exact.TOLD, **compared.TOLD, **tensor.TOLD, **visuals.TOLD,
}  # fmt: skip
