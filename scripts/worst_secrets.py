"""The dearest certificates of the secret beside the code, the quantisers, and documents: for scripts/worst_case.py."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from worst_certificates import HUGE, a_tilt, case, cube, leaks, near, statement, step, tree

from kvverify.kernel import document
from kvverify.kernel.document import Node

# payload and amplitude


def _ball_tilt(coordinates: int, name: str = "tilt") -> Node:
    given = {"strength": near(3), "radius": near("1/2"), "key_coordinates": coordinates}
    return step(name, "ball-tilt", given=given, mean_at_most=near(4), entropy_at_least=near(-100))


def _shrunk(of: str, name: str) -> Node:
    return step(name, "shrunk-keys", {"keys": of}, {"code_radius": near("4/5")}, payload_radius=near("1/2"))


@case("tilt")
def _tilt(folder: Path) -> Node:
    dear = a_tilt()
    dear["given"]["strength"] = near(4095)
    return tree(statement(), [], [dear])


@case("ball-tilt")
def _ball(folder: Path) -> Node:
    return tree(statement(), [], [_ball_tilt(4096)])


@case("shrunk-keys")
def _shrunk_keys(folder: Path) -> Node:
    return tree(statement(body="ball"), [cube(name="raw")], [_shrunk("raw", "keys")])


@case("shrunk-keys: one of another, and budgets of the last")
def _chain(folder: Path) -> Node:
    chain = [cube(name="shrunk-0")] + [_shrunk(f"shrunk-{i}", f"shrunk-{i + 1}") for i in range(120)]
    chain += [a_tilt(), leaks()[0]]
    dear = leaks(tilt="tilt")[1]
    dear["uses"]["keys"] = "shrunk-120"
    return tree(statement(body="ball", max_logit=str(HUGE)), chain, [dear | {"gives": {"logit_at_most": str(HUGE)}}])


@case("joint: cube")
def _joint(folder: Path) -> Node:
    before = [cube(), a_tilt(), *leaks("values"), *leaks("other", tilt="tilt")]
    uses = {"values": "values", "keys": "other"}
    dear = step("bits", "joint", uses, {"key_coordinates": 10**3990}, bits_at_least="-" + near(1))
    return tree(statement(), before, [dear])


@case("joint: ball")
def _joint_ball(folder: Path) -> Node:
    before = [
        cube(name="raw"),
        _shrunk("raw", "keys"),
        _ball_tilt(4096),
        *leaks("values"),
        *leaks("other", tilt="tilt"),
    ]
    uses = {"values": "values", "keys": "other"}
    dear = step("bits", "joint", uses, {"key_coordinates": 4096}, bits_at_least="-" + near(1))
    return tree(statement(body="ball"), before, [dear])


@case("amplitude")
def _amplitude(folder: Path) -> Node:
    before = [cube(), a_tilt()]
    for name in ("values", "values-worst", "amplitudes", "keys", "keys-worst"):
        lean, exponent = "tilt" if "keys" in name else None, 16 if "worst" in name else 31
        made = leaks(f"{name}-leak", tilt=lean, exponent=exponent)
        made[2]["gives"]["rest_at_most"] = near(Fraction(HUGE, 10**6))
        before += made
    given = {
        "width": near("1/4"), "strength": near(2), "reference": near(2), "slack": near("1/10"), "key_coordinates": 7,
    }  # fmt: skip
    uses = {n: f"{n}-leak" for n in ("values", "values-worst", "amplitudes", "keys", "keys-worst")}
    return tree(statement(), before, [step("bits", "amplitude", uses, given, bits_at_least="-" + near(1))])


# quantiser


def _quantised(**fields: object) -> Node:
    return statement(claim="state-bits-enough", **fields)


@case("quantiser")
def _quantiser(folder: Path) -> Node:
    claimed = _quantised(key_dim=39, value_dim=39, body="ball")
    given = {"key_levels": HUGE - 1, "value_levels": HUGE}
    return tree(claimed, [], [step("bits", "quantiser", given=given, bits_per_token=HUGE)])


@case("quantiser: key_dim 10^3999")
def _wide_quantiser(folder: Path) -> Node:
    given = {"key_levels": HUGE, "value_levels": HUGE}
    return tree(_quantised(body="ball"), [], [step("bits", "quantiser", given=given, bits_per_token=HUGE)])


def _dithered(tail: str, key_levels: int, value_levels: int, **fields: object) -> Node:
    given = {"key_levels": key_levels, "value_levels": value_levels, "tail": tail}
    dear = step("bits", "dithered", given=given, bits_per_token=HUGE)
    return tree(_quantised(key_dim=3, value_dim=3, **fields), [], [dear])


@case("dithered: gaussian")
def _gaussian(folder: Path) -> Node:
    return _dithered("gaussian", HUGE, HUGE - 2, body="ball")


@case("dithered: log-concave")
def _log_concave(folder: Path) -> Node:
    return _dithered("log-concave", HUGE, HUGE - 2, body="ball")


@case("dithered: log-concave, close to the law")
def _close(folder: Path) -> Node:
    # A lone value error uniform on [-F, F]: the bisection is finest where the variance is next to the extreme law's.
    return _dithered(
        "log-concave", HUGE, 10**5, max_logit=near("1/1000000"), tolerance="3/4000000", failure=near("1/1000000")
    )


# documents


@case("document: 8 MiB of empty lists")
def _lists(folder: Path) -> Node:
    claimed = statement()
    body = step("keys", "hypercube", given={"": [[]] * 2_650_000}, size=1)
    return document.build(claimed, [body])


@case("document: 8 MiB of small objects")
def _objects(folder: Path) -> Node:
    body = step("keys", "hypercube", given={"": [{"": ""}] * 900_000}, size=1)
    return document.build(statement(), [body])


@case("document: 8 MiB of one premise's names")
def _names(folder: Path) -> Node:
    last = step("last", "volume", {str(i): "keys" for i in range(380_000)}, bits_at_least=1)
    return document.build(statement(), [cube(), last])
