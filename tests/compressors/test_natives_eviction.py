"""Eviction of the field: what is kept is what slow references keep, token by token and head by head."""

from __future__ import annotations

from typing import Any

import pytest

from kvverify.compressors import find
from kvverify.compressors.protocol import Settings, Shape
from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.compressors.selftest import stream  # noqa: E402

GROUPED = Shape(2, 6, 8, 4, batch=2)


def numbered(shape: Shape, tokens: int) -> tuple[Any, ...]:
    """A stream whose values say which token it is."""
    queries, keys, values = stream(shape, tokens)
    return queries, keys, torch.arange(float(tokens))[:, None].expand_as(values).contiguous()


def kept(name: str, parameters: dict[str, Any], told: tuple[Any, ...], cuts: list[int], scale: float = 0.5) -> Any:
    """The tokens that each head keeps, after these chunks: lists by (batch, kv_head)."""
    compressor = find(name)(Settings(name, GROUPED, parameters, scale=scale))
    for chunk in zip(*(side.split(cuts, dim=2) for side in told), strict=True):
        compressor.absorb(*chunk)
    keys, values = compressor.read()
    found = values[..., 0].long()
    assert torch.equal(keys, told[1].gather(2, found[..., None].expand_as(keys)))
    return found.tolist()


def weights(query: Any, keys: Any, scale: float = 0.5) -> Any:
    return torch.softmax(keys.double() @ query.double() * scale, dim=0)


@pytest.mark.parametrize("cuts", [[400], [1] * 40 + [360], [130, 270]])
def test_h2o_keeps_what_the_policy_keeps_step_by_step(cuts: list[int]) -> None:
    told = numbered(GROUPED, 400)
    expected = [[_h2o(told, row, head, 12, 5) for head in range(2)] for row in range(2)]
    assert kept("h2o", {"heavy": 12, "recent": 5}, told, cuts) == expected


def _h2o(told: tuple[Any, ...], row: int, head: int, heavy: int, recent: int) -> list[int]:
    queries, keys, _ = told
    members: list[int] = []
    sums: dict[int, float] = {}
    for token in range(keys.shape[2]):
        members.append(token)
        for query in queries[row, 3 * head : 3 * head + 3, token]:
            for member, weight in zip(members, weights(query, keys[row, head, members]).tolist(), strict=True):
                sums[member] = sums.get(member, 0.0) + weight
        if len(members) > heavy + recent:
            members.remove(min(members[:-recent], key=sums.__getitem__))
    return members


def test_h2o_keeps_a_heavy_hitter_for_ever() -> None:
    """Token 2, which every query looks for; those before it cannot have more than 6 of the weight."""
    _, keys, values = numbered(GROUPED, 300)
    keys[:, :, 2] *= 100
    queries = keys[:, :, 2:3].repeat_interleave(3, dim=1).expand(-1, -1, 300, -1).contiguous()
    for head in (
        head for row in kept("h2o", {"heavy": 2, "recent": 3}, (queries, keys, values), [300]) for head in row
    ):
        assert 2 in head
        assert head[-3:] == [297, 298, 299]


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("kernel", [1, 5])
def test_snapkv_keeps_what_its_window_votes_for(pool: str, kernel: int) -> None:
    told = numbered(GROUPED, 90)
    told[1][:, :, 84:] *= 4  # in the window much depends on who sees whom
    parameters = {"keep": 12, "window": 6, "kernel": kernel, "pool": pool}
    expected = [[_snapkv(told, row, head, kernel, pool) for head in range(2)] for row in range(2)]
    assert kept("snapkv", parameters, told, [90]) == expected


def _snapkv(told: tuple[Any, ...], row: int, head: int, kernel: int, pool: str) -> list[int]:
    queries, keys, _ = told
    votes = [0.0] * 84
    for token in range(84, 90):
        for query in queries[row, 3 * head : 3 * head + 3, token]:
            seen = weights(query, keys[row, head, : token + 1]).tolist()
            votes = [vote + weight for vote, weight in zip(votes, seen[:84], strict=True)]
    around = [votes[max(0, j - kernel // 2) : j + kernel // 2 + 1] for j in range(84)]
    pooled = [max(near) if pool == "max" else sum(near) for near in around]
    return [*sorted(sorted(range(84), key=lambda j: -pooled[j])[:12]), *range(84, 90)]


def test_snapkv_compresses_the_prompt_and_keeps_what_comes_later() -> None:
    told = numbered(GROUPED, 120)
    parameters = {"keep": 12, "window": 6}
    prompt = kept("snapkv", parameters, tuple(side[:, :, :90] for side in told), [90])
    later = kept("snapkv", parameters, told, [90, 1, 29])
    assert later == [[[*head, *range(90, 120)] for head in row] for row in prompt]
    short = kept("snapkv", parameters, told, [18, 102])  # a prompt within the budget is kept whole
    assert short == [[[*range(120)]] * 2] * 2


@pytest.mark.parametrize(("sinks", "window"), [(0, 5), (4, 7), (50, 50)])
@pytest.mark.parametrize("cuts", [[60], [1] * 60, [3, 2, 55]])
def test_streaming_keeps_sinks_and_window(sinks: int, window: int, cuts: list[int]) -> None:
    found = kept("streaming-llm", {"sinks": sinks, "window": window}, numbered(GROUPED, 60), cuts)
    tokens = [*range(60)]
    assert found == [[tokens[:sinks] + tokens[max(sinks, 60 - window) :]] * 2] * 2


def test_scores_are_taken_at_the_scale_of_the_settings() -> None:
    """A policy that forgot the scale would keep the same at any."""
    told = numbered(GROUPED, 90)
    for name, parameters in (("h2o", {"heavy": 12, "recent": 6}), ("snapkv", {"keep": 12, "window": 6})):
        assert kept(name, parameters, told, [90], 0.01) != kept(name, parameters, told, [90], 3.0)
