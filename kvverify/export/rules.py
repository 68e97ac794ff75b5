"""The inequalities of the lower bounds' rules, as docs/proofs states them: exact formulas, no kernel's roundings."""

from __future__ import annotations

from fractions import Fraction
from math import comb, prod

from kvverify.export.expression import (
    Expression,
    Number,
    Pi,
    at_most,
    below,
    exp,
    ln,
    log2,
    positive,
    sqrt,
    tanh,
    total,
)
from kvverify.export.facts import ROUNDING, Bits, Case, Decay, Determinant, Fact, Keys, Leak, Reading, Scaled, Tilt
from kvverify.kernel.document import Malformed, OverLimit, integer, integers, text

MAX_SYMBOLS = 512  # of the counting rule, whose terms are written out
MAX_DIMENSIONS = 4096  # of a ball, whose double factorial is written out
_COORDINATES = "key_coordinates"


def exp_bound(case: Case) -> Fact:
    """exp(-exponent) <= z."""
    exponent, z = case.given("exponent"), case.gives("exp_minus_at_most")
    case.leaf("scale", "exponent > 0", below(0, exponent))
    case.leaf("range", "0 < exp_minus_at_most <= 1", below(0, z), at_most(z, 1))
    case.leaf("decay", "exp(-exponent) <= exp_minus_at_most", at_most(exp(-Number(exponent)), z))
    return Decay(exponent, z)


def budget(case: Case) -> Fact:
    """Sizes that fit, and the logit of the queries within the budget; in the ball squares of norms."""
    keys, decay = case.premise("keys", Keys), case.premise("decay", Decay)
    tilt = case.premise("tilt", Tilt) if "tilt" in case.step.uses else None
    payload, logit, statement = case.count("payload"), Number(case.gives("logit_at_most")), case.statement
    case.leaf("dimension", "the keys fit the key dimension", at_most(keys.dim, statement.key_dim))
    case.leaf("payload", "1 <= payload <= number of keys", at_most(1, payload), at_most(payload, keys.size))
    case.leaf("tokens", "payload <= tokens", at_most(payload, statement.tokens))
    case.leaf("sign", "logit_at_most > 0", below(0, logit))
    scale, lean = Number(decay.exponent), Number(tilt.strength) if tilt else Number(Fraction(0))
    if statement.body == "ball":
        cost, most = scale**2 * keys.cost + lean**2, logit**2
    else:
        cost, most = scale * keys.cost + lean, logit
    case.leaf("cost", "logit of the queries <= logit_at_most", at_most(cost, most))
    case.leaf("within", "logit_at_most <= max_logit", at_most(logit, statement.max_logit))
    case.kept("the statement's budget is the class, and its inputs hold the keys exactly")
    return Scaled(keys, decay, payload, tilt)


def leak(case: Case) -> Fact:
    """Sums over the first payload - 1 entries of the histogram; pads and the asker's own token."""
    scaled = case.premise("budget", Scaled)
    keys, z = scaled.keys, Number(scaled.decay.z)
    left = scaled.payload - 1
    off_target: list[Expression] = []
    squares: list[Expression] = []
    for exponent, number in keys.exponents:
        if left > 0:
            off_target.append(min(number, left) * z**exponent)
            squares.append(min(number, left) * z ** (2 * exponent))
            left -= number
    found = _stated_leak(case, scaled.payload, scaled)
    pad: Expression = z ** (keys.pad_twice // 2)
    pad = pad * sqrt(z) if keys.pad_twice % 2 else pad
    rest = z**keys.own + (case.statement.tokens - scaled.payload) * pad
    case.leaf("off_target", "sum of n_e z^e <= off_target_at_most", at_most(total(off_target), found.off_target))
    case.leaf("squares", "sum of n_e z^(2e) <= off_target_squares_at_most", at_most(total(squares), found.squares))
    case.leaf("rest", "z^own + pads z^pad <= rest_at_most", at_most(rest, found.rest))
    return found


def attention_row(case: Case) -> Fact:
    """Rows of a file: no number of the certificate but the stated sums."""
    case.kept("logits, off-target mass, squares and rest of every row of the file's keys, and the files' digests")
    return _stated_leak(case, len(integers(case.step.given.get("payload"), "given.payload")), None)


def _stated_leak(case: Case, payload: int, scaled: Scaled | None) -> Leak:
    names = ("off_target_at_most", "off_target_squares_at_most", "rest_at_most")
    off_target, squares, rest = map(case.gives, names)
    return Leak(payload, off_target, squares, rest, scaled)


def separation(case: Case) -> Fact:
    """0 and 1 are told apart at a relative tolerance."""
    found, eta = case.premise("leak", Leak), case.statement.relative
    if eta is None:
        raise Malformed("the rule needs a relative tolerance in the statement")
    left, right = (1 + Number(eta)) * Number(found.off_target), 1 - Number(eta)
    case.leaf("apart", "(1 + relative) off_target < 1 - relative", below(left, right))
    alphabet = integer(case.step.gives.get("alphabet"), "gives.alphabet")
    case.leaf("alphabet", "alphabet = 2", at_most(2, alphabet), at_most(alphabet, 2))
    return Reading(alphabet, found.payload, _crowd(case, found))


def _crowd(case: Case, found: Leak) -> Expression | None:
    return 1 + Number(found.off_target) + Number(found.rest) if found.payload == case.statement.tokens else None


def levels(case: Case) -> Fact:
    """Neighbouring levels are told apart at an additive tolerance."""
    found, alphabet = case.premise("leak", Leak), integer(case.step.gives.get("alphabet"), "gives.alphabet")
    case.leaf("alphabet", "alphabet >= 2", at_most(2, alphabet))
    gaps = alphabet - 1
    exact = gaps > 0 and gaps & (gaps - 1) == 0 and gaps <= 512
    eps = Number(case.statement.additive) if exact else case.statement.widened()
    sigma, rest = Number(found.off_target), Number(found.rest)
    words = "tolerance (1 + off_target + rest) + off_target < 1/(alphabet - 1)"
    apart = below(eps * (1 + sigma + rest) + sigma, 1 / (Number(Fraction(alphabet)) - 1))
    case.leaf("apart", words, apart)
    return Reading(alphabet, found.payload, _crowd(case, found))


def random_access_code(case: Case) -> Fact:
    """Fano's inequality for every symbol."""
    symbols, alphabet, delta = _symbols(case)
    bits = case.gives("bits_at_least")
    each = log2(alphabet)
    if case.statement.failure:
        each = each + (1 - delta) * log2(1 - delta) + delta * log2(delta / (alphabet - 1))
    words = "bits_at_least <= symbols (log2 L - H(failure) - failure log2(L - 1))"
    case.leaf("bits", words, at_most(bits, symbols * each))
    return Bits(bits, crowd=case.premise("reading", Reading).crowd)


def counting(case: Case) -> Fact:
    """The first j balls of 2^bits - 1 centres leave more errors than the failure allows."""
    symbols, alphabet, delta = _symbols(case)
    reading = case.premise("reading", Reading)
    bits = integer(case.step.gives.get("bits_at_least"), "gives.bits_at_least")
    case.leaf("least", "bits_at_least >= 1", at_most(1, bits))
    number = int(symbols.value)
    if number > MAX_SYMBOLS or reading.alphabet.bit_length() > 16 or not 0 <= bits <= 16 * MAX_SYMBOLS:
        case.kept(f"errors that 2^bits - 1 states make (over {MAX_SYMBOLS} symbols, or numbers as large)")
        return Bits(Fraction(bits), crowd=reading.crowd)
    words, ball, reach = reading.alphabet**number, 0, 0
    for j in range(number):
        ball += comb(number, j) * (reading.alphabet - 1) ** j
        if words <= ((1 << bits) - 1) * ball:
            break
        reach = j + 1
    spheres = [(reach - i) * comb(number, i) * (alphabet - 1) ** i for i in range(reach)]
    errors = reach * alphabet**number - (Number(Fraction(2)) ** bits - 1) * total(spheres)
    text = "failure symbols words < sum over the first j of (words - (2^bits - 1) ball of radius j)"
    case.leaf("errors", text, below(delta * symbols * alphabet**number, errors))
    return Bits(Fraction(bits), crowd=reading.crowd)


def _symbols(case: Case) -> tuple[Number, Number, Number]:
    """How many symbols of how many levels, and the failure, which must be in the range where it costs."""
    reading = case.premise("reading", Reading)
    number = reading.payload * case.statement.value_dim * case.statement.streams
    alphabet, delta = Number(Fraction(reading.alphabet)), Number(case.statement.failure)
    case.leaf("range", "alphabet failure <= alphabet - 1", at_most(alphabet * delta, alphabet - 1))
    return Number(Fraction(number)), alphabet, delta


def determinant(case: Case) -> Fact:
    """The two forms that need the stated sums alone."""
    found, stated = case.premise("leak", Leak), case.gives("log2_det_at_least")
    form = text(case.step.given.get("form"), "given.form")
    sigma = Number(found.off_target)
    if form == "near-identity":
        _contracts(case, found)
        words = "log2_det_at_least <= -payload (log2(1 + off_target + rest) + log2 e c(off_target) squares)"
        case.leaf("near_identity", words, at_most(stated, near_identity(found)))
    elif form == "ostrowski" and found.scaled is not None:
        _contracts(case, found)
        words = "log2_det_at_least <= payload (log2(1 - off_target) - log2(1 + off_target + rest))"
        each = log2(1 - sigma) - log2(_row(found))
        case.leaf("ostrowski", words, at_most(stated, found.payload * each))
    else:
        case.kept("log2_det_at_least <= log2 |det W| of the rows of a file (row by row, by elimination, or by factors)")
    return Determinant(found.payload, stated)


def _contracts(case: Case, found: Leak, pool: str = "") -> None:
    case.leaf(f"contracts{pool}", "off_target < 1", below(found.off_target, 1))


def _row(found: Leak) -> Expression:
    return 1 + Number(found.off_target) + Number(found.rest)


def near_identity(found: Leak) -> Expression:
    """-r (log2(1 + sigma + rest) + F c(sigma) log2 e)."""
    return -(found.payload * (log2(_row(found)) + distortion(found)))


def distortion(found: Leak) -> Expression:
    """F c(sigma) log2 e, c(s) = (-s - ln(1 - s))/s^2 and c(0) = 1/2."""
    s = Number(found.off_target)
    ratio: Expression = (-s - ln(1 - s)) / s**2 if s.value else Number(Fraction(1, 2))
    return Number(found.squares) * ratio / ln(2)


def gain(eps: Expression, delta: Expression | Fraction) -> Expression:
    """g(eps, delta) = (1 - delta) log2((1 - delta)/eps) + delta log2(delta/(1 - eps)); log2(1/eps) at delta = 0."""
    if delta == 0:
        return log2(1 / eps)
    delta = Number(delta) if isinstance(delta, Fraction) else delta
    return (1 - delta) * log2((1 - delta) / eps) + delta * log2(delta / (1 - eps))


def tolerated(case: Case, eps: Expression, delta: Expression | Fraction, pool: str = "") -> None:
    """The range in which g falls with the failure."""
    case.leaf(f"tolerance{pool}", "tolerance < 1, as widened for the reads", below(eps, 1))
    case.leaf(f"failure{pool}", "failure <= 1 - tolerance, as widened for the reads", at_most(delta, 1 - eps))


def volume(case: Case) -> Fact:
    """The determinant and g for every coordinate."""
    found, bits, statement = case.premise("determinant", Determinant), case.gives("bits_at_least"), case.statement
    eps, delta = statement.widened(), statement.failure
    tolerated(case, eps, delta)
    each = Number(found.log2) + found.payload * gain(eps, delta)
    words = "bits_at_least <= streams value_dim (log2_det + payload g(tolerance, failure))"
    case.leaf("bits", words, at_most(bits, Number(Fraction(statement.streams)) * statement.value_dim * each))
    return Bits(bits)


def tilt(case: Case) -> Fact:
    """T <= tanh(t/2); the law of payload.md."""
    strength, bound = Number(case.given("strength")), Number(case.gives("tanh_half_at_least"))
    case.leaf("sign", "strength > 0", below(0, strength))
    case.leaf("range", "0 < tanh_half_at_least < 1", below(0, bound), below(bound, 1))
    case.leaf("tanh", "tanh_half_at_least <= tanh(strength / 2)", at_most(bound, tanh(strength / 2)))
    return Tilt(strength.value, strength / bound - 1, log2(bound))


def ball_tilt(case: Case) -> Fact:
    """Mean and entropy under a tilt of the uniform law of a ball."""
    strength, radius, dimensions = (
        Number(case.given("strength")),
        Number(case.given("radius")),
        case.count(_COORDINATES),
    )
    mean, entropy = case.gives("mean_at_most"), case.gives("entropy_at_least")
    case.leaf("sign", "strength > 0", below(0, strength))
    case.leaf("radius", "2^-64 <= radius < 1", at_most(Fraction(1, 1 << 64), radius), below(radius, 1))
    case.leaf("coordinates", "key_coordinates >= 1", at_most(1, dimensions))
    if dimensions > MAX_DIMENSIONS:
        raise OverLimit(f"limit: a ball of more than {MAX_DIMENSIONS} dimensions")
    if dimensions < 1 or not (strength.value > 0 and radius.value > 0):
        raise Malformed("expected strength, radius and key_coordinates above 0")
    square = (strength * radius) ** 2 / (dimensions + 2)
    case.leaf("mean", "e^(s^2/2) <= mean_at_most", at_most(exp(square / 2), mean))
    half, odd = divmod(dimensions, 2)
    ball = half * log2(2 * Pi()) + odd - log2(prod(range(dimensions, 0, -2)))
    least = log2(radius) + ball / dimensions + log2(strength) - 2 - square / (4 * ln(2))
    words = "entropy_at_least <= log2 R + log2(V_d)/d + log2 b - 2 - log2 e s^2/4, V_d the unit ball's volume"
    case.leaf("entropy", words, at_most(entropy, least))
    return Tilt(strength.value, Number(mean), Number(entropy), (radius.value, dimensions))


def joint(case: Case) -> Fact:
    """Two pools of reads, a part below 0 counted as 0."""
    values, keys = case.premise("values", Leak), case.premise("keys", Leak)
    if keys.scaled is None or keys.scaled.tilt is None:
        raise Malformed("the key reads are of no budget with a tilt")
    lean, statement, bits = keys.scaled.tilt, case.statement, case.gives("bits_at_least")
    coordinates = case.count(_COORDINATES)
    case.leaf("coordinates", "key_coordinates >= 1", at_most(1, coordinates))
    fits = at_most(Number(Fraction(keys.scaled.keys.dim)) + coordinates, statement.key_dim)
    case.leaf("dimension", "code and payload fit the key dimension", fits)
    if lean.ball is not None:
        case.leaf("room", "radius <= payload_radius of the keys", at_most(lean.ball[0], keys.scaled.keys.beside))
    case.kept("both pools are of one key step and of the same tokens; the tilt is of the body and the coordinates")
    _contracts(case, values, "_values")
    _contracts(case, keys, "_keys")
    eps = Number(statement.additive)
    of_values, of_keys = statement.widened(), eps + _moved(lean) if statement.bf16 else eps
    tolerated(case, of_values, statement.failure, "_values")
    tolerated(case, of_keys, statement.failure, "_keys")
    value_part = near_identity(values) + values.payload * gain(of_values, statement.failure)
    key_part = keys.payload * (_key_read(keys, lean) + gain(of_keys, statement.failure))
    parts = (statement.value_dim - 1) * positive(value_part) + coordinates * positive(key_part)
    case.leaf("bits", "bits_at_least <= streams (value part + key part)", at_most(bits, statement.streams * parts))
    return Bits(bits)


def _moved(lean: Tilt) -> Expression:
    """t p h / 2, p the least power of two that is at least the radius; 1 on the cube."""
    reach = Fraction(1)
    while lean.ball is not None and reach / 2 >= lean.ball[0] > 0:
        reach /= 2
    return Number(lean.strength) * reach * ROUNDING / 2


def _key_read(keys: Leak, lean: Tilt) -> Expression:
    """Bits of a key read beside g: entropy - 2 log2(1 + (sigma mean + rest)/2) - F c(sigma) log2 e."""
    crowd = 1 + (Number(keys.off_target) * lean.mean + Number(keys.rest)) / 2
    return lean.entropy - 2 * log2(crowd) - distortion(keys)


def claim(case: Case, last: Fact) -> None:
    """The statement's bits against those of the last step."""
    if not isinstance(last, Bits):
        raise Malformed("the last step gives no bits")
    statement = case.statement
    range_of = {"tolerance": statement.tolerance, "relative": statement.relative, "failure": statement.failure}
    for name, value in range_of.items():
        if value is not None:
            least = below(0, value) if name == "tolerance" else at_most(0, value)
            case.leaf(name, f"0 {'<' if least.strict else '<='} {name} < 1", least, below(value, 1))
    case.leaf("max_logit", "max_logit > 0", below(0, statement.max_logit))
    if statement.top_mass:
        if last.crowd is None:
            raise Malformed("no step says how much of a row lies on one token")
        words = "top_mass_at_least (1 + off_target + rest) <= 1"
        case.leaf("top_mass", words, at_most(Number(statement.top_mass) * last.crowd, 1))
    if last.enough and statement.enough is not None:
        needed = Number(last.value) * statement.tokens * statement.streams
        case.leaf("bits", "bits_per_token tokens streams <= state_bits_enough", at_most(needed, statement.enough))
    elif not last.enough and statement.least is not None:
        words = "state_bits_at_least <= bits_at_least of the last step"
        case.leaf("bits", words, at_most(statement.least, last.value))
    else:
        raise Malformed("the last step gives another kind of bits than the statement claims")
