"""Leaf inequalities as a Coq file: one lemma each over Coq's real numbers, proved by ``lra`` or by ``interval``.

``interval`` (the Coq package Interval) computes with enclosures inside Coq's logic. Every lemma says the rule's
inequality with the certificate's numbers, with ``exp``, ``ln``, ``sqrt`` and ``PI`` of Coq's standard library.
"""

from __future__ import annotations

import textwrap
from fractions import Fraction

from kvverify.export.evaluate import binary_power, settle
from kvverify.export.expression import Binary, Call, Expression, Inequality, Number, Pi, Power, Sum, Variable
from kvverify.export.facts import Leaf
from kvverify.export.leaves import Leaves

_WIDTH = 118
_LARGE = 1000  # exponents above it are binary numbers, not Coq's unary ones
_SPARE = 32  # bits of precision beyond what Arb needed
_HARD = 256  # bits where nothing is known

PREAMBLE = """\
From Coq Require Import Reals Lra.
From Interval Require Import Tactic.
Open Scope R_scope.

Definition log2 (x : R) : R := ln x / ln 2.
Definition positive_part (x : R) : R := Rmax 0 x.

Lemma log2_power : forall p : positive, log2 (powerRZ 2 (Zpos p)) = IZR (Zpos p).
Proof.
  intros p. unfold log2. simpl powerRZ. rewrite <- Rpower_pow by lra. unfold Rpower.
  rewrite ln_exp, INR_IZR_INZ, positive_nat_Z. field. interval with (i_prec 64).
Qed.
"""
THEOREM = "all_leaves"


def to_coq(found: Leaves) -> str:
    """The file, in ASCII."""
    lemmas = [_lemma(leaf) for leaf in found.leaves]
    names = [leaf.name for leaf in found.leaves]
    together = "".join(f"\n  (conj {name}" for name in names[:-1]) + f"\n  {names[-1]}" + ")" * (len(names) - 1)
    ending = f"Definition {THEOREM} :={together}.\nPrint Assumptions {THEOREM}.\n"
    return "\n".join([header(found, "(*", "*)"), PREAMBLE, *lemmas, ending])


def header(found: Leaves, start: str, end: str, refused: tuple[Leaf, ...] = ()) -> str:
    """The comment at the head of an exported file: whose leaves these are, and what is not among them."""
    lines = [
        f"Leaf inequalities of the certificate with the digest {found.digest}.",
        "Written by kvverify export. True leaves do not make a certificate true: see docs/export.md.",
        "",
        "Not exported: decided by the kernel",
        *(f"- {fact.step}, {fact.rule}: {fact.words}" for fact in found.unexported),
    ]
    if refused:
        lines += ["", "Not exported: not expressible here (exp, log2, roots), or too large"]
        lines += [f"- {leaf.step}, {leaf.rule}: {leaf.words}" for leaf in refused]
    return "\n".join(f"{start} {line} {end}".rstrip() if line else "" for line in lines) + "\n"


def _lemma(leaf: Leaf) -> str:
    parts = [_part(part) for part in leaf.parts]
    statement = " /\\ ".join(parts) if len(parts) == 1 else " /\\\n  ".join(f"({part})" for part in parts)
    tactics = [_tactic(part) for part in leaf.parts]
    proof = tactics[0] if len(tactics) == 1 else "repeat split; [ " + " | ".join(tactics) + " ]"
    return (
        f"(* {leaf.step}, {leaf.rule}: {leaf.words} *)\n"
        f"Lemma {leaf.name} :\n{_wrap(statement)}.\n"
        f"Proof.\n{_wrap(proof)}.\nQed.\n"
    )


def _part(part: Inequality) -> str:
    text = f"{_text(part.left)} {'<' if part.strict else '<='} {_text(part.right)}"
    if part.interval is None:
        return text
    low, high = (_text(Number(end)) for end in part.interval)
    return f"forall x : R, {low} <= x <= {high} -> {text}"


def _wrap(text: str) -> str:
    """Lines of a readable length; a long number stays whole."""
    return "\n".join(
        "\n".join(textwrap.wrap(line, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False))
        for line in text.splitlines()
    )


def _tactic(part: Inequality) -> str:
    """Exact where both sides are rationals of moderate size; else enclosures at the precision that Arb needed."""
    calls = _calls(part.left) | _calls(part.right)
    first = []
    if "log2" in calls:
        first.append("rewrite ?log2_power; unfold log2")
    if "tanh" in calls:
        first.append("unfold tanh, sinh, cosh")
    if part.interval is not None:
        first.append("intros x between")
        last = f"interval with (i_bisect x, i_autodiff x, i_depth 20, i_prec {_HARD // 4})"
    else:
        found = settle(part)
        exact = found.truth is not None and found.precision is None
        last = "lra" if exact else f"interval with (i_prec {(found.precision or _HARD) + _SPARE})"
    if "positive" in calls:
        choose = f"rewrite Rmax_right by ({last}) | rewrite Rmax_left by ({last})"
        first.append(f"unfold positive_part; repeat first [ {choose} ]")
    return "; ".join([*first, last]) if first else last


def _calls(x: Expression) -> set[str]:
    match x:
        case Sum(terms):
            return set().union(*map(_calls, terms))
        case Binary(_, left, right):
            return _calls(left) | _calls(right)
        case Power(base, _):
            return _calls(base)
        case Call(function, argument):
            return {function} | _calls(argument)
    return set()


# How tightly Coq binds what is printed: a sum, a product, a sign, an application or a power, a word.
_SUM, _PRODUCT, _SIGN, _TIGHT, _WORD = range(5)


def _text(x: Expression, least: int = _SUM) -> str:
    """The expression, in parentheses where it binds less tightly than ``least``."""
    text, binds = _bound(x)
    return text if binds >= least else f"({text})"


def _bound(x: Expression) -> tuple[str, int]:
    match x:
        case Number(value):
            return _number(value)
        case Sum(terms):
            return " + ".join(_text(term, _PRODUCT) for term in terms), _SUM
        case Binary("-", Number(Fraction(numerator=0)), right):
            return f"- {_text(right, _TIGHT)}", _SIGN
        case Binary("-", left, right):
            return f"{_text(left, _SUM)} - {_text(right, _PRODUCT)}", _SUM
        case Binary(operator, left, right):
            return f"{_text(left, _PRODUCT)} {operator} {_text(right, _TIGHT)}", _PRODUCT
        case Power(base, exponent) if exponent > _LARGE:
            return f"powerRZ {_text(base, _WORD)} {exponent}", _TIGHT
        case Power(base, exponent):
            return f"{_text(base, _WORD)} ^ {exponent}", _TIGHT
        case Call("log2", argument) if power := binary_power(argument):
            return f"log2 (powerRZ 2 {power})", _TIGHT
        case Call(function, argument):
            return f"{'positive_part' if function == 'positive' else function} {_text(argument, _WORD)}", _TIGHT
        case Pi():
            return "PI", _WORD
        case Variable():
            return "x", _WORD
    raise TypeError(f"no expression: {x!r}")


def _number(value: Fraction) -> tuple[str, int]:
    text = str(abs(value.numerator))
    if value < 0:
        text = f"- {text}"
    if value.denominator != 1:
        return f"{text} / {value.denominator}", _PRODUCT
    return text, _SIGN if value < 0 else _WORD
