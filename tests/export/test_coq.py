"""coqc accepts what is exported, rests on known axioms alone, and stops at the lemma whose number was strengthened."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.export.coq import PREAMBLE, THEOREM, to_coq
from kvverify.kernel import document
from tests.export.provers import HEADLINE, ROOT, assumptions, chosen, coqc, leaves_of
from tests.kernel.controls import rebuild
from tests.kernel.mutants import put
from tests.kernel.test_mutants import controls

Node = dict[str, Any]

# docs/export.md says what each group is. Real numbers:
REALS = {
    "ClassicalDedekindReals.sig_forall_dec", "ClassicalDedekindReals.sig_not_dec", "Classical_Prop.classic",
    "FunctionalExtensionality.functional_extensionality_dep",
}  # fmt: skip
# The machine's integers of 63 bits, and what they compute:
INTEGERS = {
    *map("PrimInt63.{}".format, (
        "int", "add", "addc", "addcarryc", "addmuldiv", "compare", "div", "diveucl", "diveucl_21", "eqb", "head0",
        "land", "leb", "lor", "lsl", "lsr", "ltb", "lxor", "mod", "mul", "mulc", "sub", "subc", "subcarryc", "tail0",
    )),
    *map("Uint63.{}".format, (
        "add_spec", "addc_def_spec", "addcarryc_def_spec", "addmuldiv_def_spec", "compare_def_spec", "div_spec",
        "diveucl_21_spec", "diveucl_def_spec", "eqb_correct", "eqb_refl", "head0_spec", "land_spec", "leb_spec",
        "lor_spec", "lsl_spec", "lsr_spec", "ltb_spec", "lxor_spec", "mod_spec", "mul_spec", "mulc_spec", "of_to_Z",
        "sub_spec", "subc_def_spec", "subcarryc_def_spec", "tail0_spec",
    )),
}  # fmt: skip
ALLOWED = REALS | INTEGERS

FINE = Fraction(1, 1 << 32)
# Controls with one number strengthened, and the lemma that is false then.
STRENGTHENED: list[tuple[str, tuple[Any, ...], Fraction | int, str]] = [
    ("golay, volume", ("steps", 1, "gives", "exp_minus_at_most"), -Fraction(1, 1 << 48), "decay__exp_bound__decay"),
    ("golay, volume", ("steps", 2, "gives", "logit_at_most"), -FINE, "budget__budget__cost"),
    ("golay, volume", ("steps", 3, "gives", "off_target_at_most"), -FINE, "leak__leak__off_target"),
    ("golay, volume", ("steps", 3, "gives", "off_target_squares_at_most"), -FINE, "leak__leak__squares"),
    ("golay, volume", ("steps", 3, "gives", "rest_at_most"), -FINE, "leak__leak__rest"),
    ("golay, volume", ("steps", 4, "gives", "log2_det_at_least"), FINE, "det__determinant__near_identity"),
    ("golay, volume", ("steps", 5, "gives", "bits_at_least"), FINE, "bits__volume__bits"),
    ("golay, volume", ("statement", "state_bits_at_least"), 1, "statement__claim__bits"),
    ("rm, levels", ("steps", 4, "gives", "alphabet"), 1, "reading__levels__apart"),
    ("rm, levels", ("steps", 5, "gives", "bits_at_least"), FINE, "bits__random_access_code__bits"),
    ("rm, separation", ("statement", "relative"), FINE, "reading__separation__apart"),
    ("hypercube 2, counting", ("steps", 5, "gives", "bits_at_least"), 1, "bits__counting__errors"),
    ("joint, hypercube, one value", ("steps", 4, "gives", "tanh_half_at_least"), FINE, "tilt__tilt__tanh"),
    ("joint, hypercube, one value", ("steps", 8, "gives", "bits_at_least"), FINE, "bits__joint__bits"),
    ("ball, hypercube, bf16", ("steps", 5, "gives", "mean_at_most"), -FINE, "tilt__ball_tilt__mean"),
    ("ball, hypercube, bf16", ("steps", 5, "gives", "entropy_at_least"), FINE, "tilt__ball_tilt__entropy"),
    ("ball, hypercube, bf16", ("steps", 1, "gives", "payload_radius"), FINE, "shrunk__shrunk_keys__norm"),
    ("amplitude, one token", ("steps", -1, "gives", "bits_at_least"), FINE, "bits__amplitude__bits"),
    ("tensor, sentinels and pads", ("steps", 3, "gives", "off_target_at_most"), -FINE, "leak__tensor_leak__off_target"),
    ("tensor, sentinels and pads", ("steps", 4, "gives", "alphabet"), 1, "bits__tensor_symbols__apart"),
    ("midpoints", ("steps", 0, "gives", "bits_per_token"), -1, "bits__quantiser__count"),
    ("midpoints", ("steps", 0, "given", "key_levels"), -1, "bits__quantiser__keys"),
    ("dither, few levels", ("steps", 0, "given", "value_levels"), -1, "bits__dithered__tail"),
    ("dither, fails seldom", ("steps", 0, "given", "value_levels"), -1, "bits__dithered__tail"),
]


def strengthened(name: str, where: tuple[Any, ...], step: Fraction | int) -> Node:
    tree = next(c.tree for c in controls() if c.name == name)
    value: Any = tree
    for key in where:
        value = value[key]
    where = tuple(len(tree["steps"]) + key if key == -1 else key for key in where)
    return rebuild(put(tree, where, str(Fraction(value) + step)))


def lemma(text: str, name: str) -> tuple[str, str]:
    """The statement and the proof of a lemma."""
    found = re.search(rf"^Lemma {name} :\n(.*?)\.\nProof\.\n(.*?)\.\nQed\.$", text, re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1], found[2]


def body(tree: Node) -> str:
    return to_coq(leaves_of(tree)).split(PREAMBLE)[1]


@pytest.mark.timeout(600)
def test_every_rule_is_accepted_and_false_leaves_have_no_proof(tmp_path: Path) -> None:
    """One run of coqc: controls of all rules as modules, then strengthened leaves.

    ``Fail`` is an error where the proof succeeds; the same proofs do, a module before, for the numbers as they were.
    """
    parts, asked = [PREAMBLE], f"Print Assumptions {THEOREM}."
    for i, control in enumerate(chosen()):
        module = body(control.tree)
        assert module.count(asked) == 1
        parts.append(f"Module M{i}.\n{module.replace(asked, '')}\nEnd M{i}.\n")
    for i, (control_name, where, step, name) in enumerate(STRENGTHENED):
        statement, proof = lemma(body(strengthened(control_name, where, step)), name)
        parts.append(f"Lemma false{i} :\n{statement}.\nProof.\nFail solve [ {proof} ].\nAbort.\n")
    theorems = ", ".join(f"M{i}.{THEOREM}" for i in range(len(chosen())))
    parts.append(f"Definition all_of_them := ({theorems}).\nPrint Assumptions all_of_them.\n")  # once: it is slow
    done = coqc("\n".join(parts), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert REALS <= assumptions(done.stdout) <= ALLOWED


@pytest.mark.timeout(600)
def test_coqc_stops_at_the_lemma_that_is_false(tmp_path: Path) -> None:
    tree = document.load(HEADLINE)
    last = len(tree["steps"]) - 1
    bits = Fraction(tree["steps"][last]["gives"]["bits_at_least"]) + 1
    text = to_coq(leaves_of(rebuild(put(tree, ("steps", last, "gives", "bits_at_least"), str(bits)))))
    name = f"{tree['steps'][last]['id']}__{tree['steps'][last]['rule']}__bits"
    done = coqc(text, tmp_path)
    assert done.returncode != 0
    found = re.search(r'File "./leaves.v", line (\d+)', done.stderr)
    assert found, done.stderr
    before = text.splitlines()[: int(found[1])]
    assert next(line for line in reversed(before) if line.startswith("Lemma ")) == f"Lemma {name} :"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", sorted((ROOT / "certificates" / "ours").glob("*.json")), ids=lambda path: path.stem)
def test_committed_certificates_are_accepted(path: Path, tmp_path: Path) -> None:
    found = leaves_of(document.load(path))
    done = coqc(to_coq(found), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert assumptions(done.stdout) <= ALLOWED


def test_the_file_says_what_is_not_in_it_and_ends_with_its_axioms() -> None:
    for control in chosen():
        found = leaves_of(control.tree)
        text = to_coq(found)
        head = text.split(PREAMBLE)[0]
        assert text.isascii()
        assert found.digest in head
        assert all(f"(* - {fact.step}, {fact.rule}: {fact.words} *)" in head for fact in found.unexported)
        assert re.findall(r"^Lemma (\S+) :$", text, re.MULTILINE) == [leaf.name for leaf in found.leaves]
        assert text.endswith(f"Print Assumptions {THEOREM}.\n")
        assert not re.search(r"\b(Axiom|Parameter|Admitted|Hypothesis|admit)\b", text)
        ending = text.split(f"Definition {THEOREM} :=")[1]
        assert re.findall(r"\w+__\w+", ending) == [leaf.name for leaf in found.leaves]


def test_the_page_names_every_axiom() -> None:
    page = (ROOT / "docs" / "export.md").read_text()
    assert [name for name in sorted(REALS) if f"`{name}`" not in page] == []
    assert [name for name in sorted(INTEGERS) if not re.search(rf"\b{name.split('.')[1]}\b", page)] == []
