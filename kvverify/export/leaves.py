"""The table: which numeric facts each step of a certificate rests on, and which facts are none.

The certificate is read anew, as a document; no code of the kernel's rules is used. Whether the leaves are true is for a
prover to say: a false certificate is exported as readily as a true one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kvverify.export import amplitudes, compared, coverings, exact, keys, quantisers, rules, tensors, visuals
from kvverify.export.facts import Case, Fact, Leaf, Unexported
from kvverify.kernel.document import Document, Malformed, short

RULES: dict[str, Callable[[Case], Fact]] = {
    "linear-code": keys.linear_code, "coset-union": keys.coset_union, "hypercube": keys.hypercube,
    "reed-muller": keys.reed_muller, "explicit-keys": keys.explicit_keys, "paraboloid": keys.paraboloid,
    "shrunk-keys": keys.shrunk_keys, "exp-bound": rules.exp_bound, "budget": rules.budget, "leak": rules.leak,
    "attention-row": rules.attention_row, "separation": rules.separation, "levels": rules.levels,
    "random-access-code": rules.random_access_code, "counting": rules.counting, "determinant": rules.determinant,
    "volume": rules.volume, "tilt": rules.tilt, "ball-tilt": rules.ball_tilt, "joint": rules.joint,
    "amplitude": amplitudes.amplitude, "quantiser": quantisers.quantiser, "dithered": quantisers.dithered,
    "cover-at-least": coverings.at_least_so_many, "cover-at-most": coverings.at_most_so_many, "cover": coverings.cover,
    "net": coverings.at_most_so_many, "lattice-points": coverings.at_most_so_many,
    "reservoir": exact.reservoir, "running-sum": exact.running_sum, "two-inputs": exact.two_inputs,
    "comparison": compared.comparison, "positive-polynomial": compared.polynomial,
    "tensor-keys": tensors.keys, "tensor-leak": tensors.leak, "tensor-symbols": tensors.symbols,
    "tensor-orders": tensors.orders, "tensor-patterns": tensors.patterns,
    "visual-rows": visuals.rows, "visual-volume": visuals.volume, "visual-symbols": visuals.symbols,
}  # fmt: skip

# What the last step is held against, for each kind of claim.
CLAIMS: dict[str, Callable[[Case, Fact], None]] = {
    "state-bits": rules.claim, "state-bits-enough": rules.claim,
    "cover": coverings.claim, "sampling": exact.exactly, "identity": exact.exactly, "two-inputs": exact.apart,
    "comparison": compared.held, "polynomial": compared.held,
    "tensor-state-bits": tensors.claim, "tensor-identity": exact.exactly, "tensor-patterns": exact.exactly,
    "visual-state-bits": tensors.claim,
}  # fmt: skip

# Rules of which nothing is exported: what they prove is counting, measures of caps, or reading of files.
COMBINATORIAL = frozenset({
    "linear-code", "coset-union", "hypercube", "reed-muller", "explicit-keys", "paraboloid", "attention-row",
    "cover-at-least", "cover-at-most", "net", "lattice-points", "reservoir", "running-sum", "positive-polynomial",
    "tensor-keys", "tensor-orders", "tensor-patterns", "visual-rows",
})  # fmt: skip


@dataclass(frozen=True)
class Leaves:
    """All leaf inequalities of one certificate, in its order, and the facts that stay with the kernel."""

    digest: str
    leaves: tuple[Leaf, ...]
    unexported: tuple[Unexported, ...]


def find_leaves(found: Document) -> Leaves:
    """Walk the steps. Raises Malformed where a rule, a premise or a number is missing, OverLimit where one is large."""
    known: dict[str, Fact] = {}
    noted: list[Leaf] = []
    unexported = [
        Unexported("statement", "claim", "the statement's words and sizes are of the class, and the steps form a proof")
    ]
    for step in found.steps:
        if step.rule not in RULES:
            raise Malformed(f"step {step.id}: unknown rule {short(step.rule)!r}")
        if step.id in known:
            raise Malformed(f"step {step.id}: a second step of this name")
        case = Case(found.statement, step, known)
        try:
            known[step.id] = RULES[step.rule](case)
        except Malformed as error:
            raise Malformed(f"step {step.id}: {error}") from None
        noted += case.leaves
        unexported += case.unexported
    noted += _claim(found, known)
    return Leaves(found.digest, tuple(noted), tuple(unexported))


def _claim(found: Document, known: dict[str, Fact]) -> list[Leaf]:
    case = Case(found.statement, replace(found.steps[-1], id="statement", rule="claim"), known)
    kind = str(found.statement.get("claim"))
    if kind not in CLAIMS:
        raise Malformed(f"statement: no claim of the kind {short(kind)!r} is known")
    CLAIMS[kind](case, known[found.steps[-1].id])
    return case.leaves
