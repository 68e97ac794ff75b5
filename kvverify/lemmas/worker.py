"""A solver in a process of its own: one JSON object a line in, one out. Started by ``solvers.py`` by its file's name.

In: {"text": SMT-LIB assertions, "logic": ...}. Out: {"answer": sat | unsat | unknown, "model": {name: [p/q, ...]}}: a
rational value alone, an irrational one as two rationals around it. A solver's version is said first.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

_DIGITS = 20


def z3_solver() -> tuple[str, Callable[[str, str], dict[str, Any]]]:
    """Version, and the function that answers."""
    import z3

    def ask(text: str, logic: str) -> dict[str, Any]:
        solver = z3.SolverFor(logic)
        solver.from_string(text)
        answer = str(solver.check())
        if answer != "sat":
            return {"answer": answer}
        declared = re.findall(r"\(declare-const (\w+) (\w+)\)", text)
        found = {name: solver.model().eval(getattr(z3, sort)(name), model_completion=True) for name, sort in declared}
        return {"answer": answer, "model": {name: read(number) for name, number in found.items()}}

    def read(number: Any) -> list[str]:
        if z3.is_algebraic_value(number):
            near = Fraction(str(number.approx(_DIGITS).as_fraction()))
            return [str(near - Fraction(1, 10**_DIGITS)), str(near + Fraction(1, 10**_DIGITS))]
        return [str(number.as_long() if z3.is_int_value(number) else number.as_fraction())]

    return z3.get_version_string(), ask


def cvc5_solver() -> tuple[str, Callable[[str, str], dict[str, Any]]]:
    """Version, and the function that answers."""
    import cvc5

    terms = cvc5.TermManager()

    def ask(text: str, _: str) -> dict[str, Any]:
        solver = cvc5.Solver(terms)
        solver.setOption("produce-models", "true")
        parser = cvc5.InputParser(solver)
        parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "lemma")
        names = parser.getSymbolManager()
        while not (command := parser.nextCommand()).isNull():
            command.invoke(solver, names)
        result = solver.checkSat()
        answer = "sat" if result.isSat() else "unsat" if result.isUnsat() else "unknown"
        found = names.getDeclaredTerms() if answer == "sat" else []
        return {"answer": answer, "model": {str(name): read(solver.getValue(name)) for name in found}}

    def read(number: Any) -> list[str]:
        if number.isRealAlgebraicNumber():
            ends = number.getRealAlgebraicNumberLowerBound(), number.getRealAlgebraicNumberUpperBound()
            return [str(Fraction(end.getRealValue())) for end in ends]
        return [str(number.getIntegerValue() if number.isIntegerValue() else Fraction(number.getRealValue()))]

    return cvc5.__version__, ask


def main() -> None:
    """Answer until the input ends."""
    name, memory = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    version, ask = {"z3": z3_solver, "cvc5": cvc5_solver}[name]()
    print(json.dumps({"version": version}), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(ask(question["text"], question["logic"])), flush=True)


if __name__ == "__main__":
    main()
