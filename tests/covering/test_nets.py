"""Anybody's points as a net: read, put on the sphere, certified with the least angle or radius; those shipped too."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from math import acos
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.covering.nets import GRID, ball_net, net_of_file, sphere_net
from kvverify.covering.nets_points import on_a_grid, on_the_sphere, read_points
from kvverify.crosscheck.arb import second_opinion
from kvverify.errors import UsageError
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from tests.conftest import needs
from tests.kernel.netted import truly_covers

needs("scipy", "audit")
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "instances" / "nets").glob("*.csv"))
QUICK = ("icosahedron", "24-cell", "600-cell", "greedy-5", "ball-2", "ball-3")


def exactly(array: Any) -> list[list[Fraction]]:
    return [[Fraction(float(x)) for x in row] for row in array]


def directions(count: int, dim: int, seed: int = 0) -> Any:
    x = np.random.default_rng(seed).normal(size=(count, dim))
    return x / np.linalg.norm(x, axis=1)[:, None]


def make_nets() -> Any:
    spec = importlib.util.spec_from_file_location("make_nets", ROOT / "scripts" / "make_nets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dim", range(2, 9))
def test_points_are_put_on_the_sphere_nearby(dim: int) -> None:
    x = directions(200, dim, dim)
    for point, row in zip(x, on_the_sphere(exactly(x)), strict=True):
        assert sum(n * n for n in row[:-1]) == row[-1] ** 2
        assert sum((Fraction(n, row[-1]) - Fraction(float(c))) ** 2 for n, c in zip(row, point, strict=False)) <= (
            Fraction(1, 1 << 30) ** 2
        )
    for point, row in zip(x, on_a_grid(exactly(x)), strict=True):
        assert all(
            abs(Fraction(n, row[-1]) - Fraction(float(c))) <= Fraction(1, 1 << 32)
            for n, c in zip(row, point, strict=False)
        )


def test_points_that_are_exact_stay() -> None:
    points = [[Fraction(3, 5), Fraction(-4, 5)], [Fraction(1), Fraction(0)]]
    assert on_the_sphere(points) == [(3, -4, 5), (1, 0, 1)]
    assert on_the_sphere(exactly([[2 / 3, -1 / 3, 2 / 3]])) == [(2, -1, 2, 3)]  # floats of a short one
    assert on_a_grid([[Fraction(1, 3), Fraction(2, 5)]]) == [(5, 6, 15)]


@pytest.mark.parametrize(("dim", "count"), [(2, 9), (3, 12), (4, 11)])
def test_the_angle_is_the_covering_radius(dim: int, count: int) -> None:
    """The largest cap without points, over all subsets of dim points: no hull is taken."""
    found = 0
    for seed in range(12):
        x = directions(count, dim, seed)
        largest = 0.0
        for subset in combinations(range(count), dim):
            a = np.linalg.solve(x[list(subset)], np.ones(dim))
            for side in (a, -a):
                cosine = (x @ side).max() / np.linalg.norm(side)
                if cosine <= (x[subset[0]] @ side) / np.linalg.norm(side) + 1e-12:
                    largest = max(largest, acos(cosine))
        if largest < 1.5:
            net = sphere_net(exactly(x))
            assert net.angle is not None
            assert abs(float(net.angle) - largest) < 5 / GRID  # points were moved by 2^-30
            assert net.count == count
            found += 1
        elif largest > 1.53:
            with pytest.raises(UsageError, match=r"the origin is not inside|nearly half the sphere"):
                sphere_net(exactly(x))
    assert found >= 4


@pytest.mark.parametrize("dim", range(2, 6))
def test_a_net_of_the_ball_covers(dim: int) -> None:
    inner = directions(20, dim) * np.random.default_rng(1).random((20, 1)) * 0.8
    net = ball_net(exactly(np.concatenate([directions(30 * dim, dim), inner])), Fraction(4, 5))
    assert net.ball_radius is not None
    assert truly_covers(net.certificate["statement"], net.step)
    assert second_opinion(net.certificate).verdict == "agrees"


@pytest.mark.parametrize("shape", ["octahedron", "cube", "grid", "hexagons"])
def test_degenerate_points(shape: str) -> None:
    """Facets with more vertices than a simplex has."""
    grid = np.array([[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)], dtype=float)
    if shape == "grid":
        net = ball_net(exactly(grid), Fraction(1))
        assert net.ball_radius == Fraction(866025404, GRID)
    elif shape == "hexagons":
        turn = np.exp(2j * np.pi * np.arange(6) / 6)
        net = ball_net(exactly([[0, 0], *np.stack([turn.real, turn.imag], axis=1)]), Fraction(1))
        assert net.count == 7
    else:
        points = grid[np.abs(grid).sum(axis=1) == (1 if shape == "octahedron" else 3)]
        net = sphere_net(exactly(points / np.linalg.norm(points[0])))
        assert net.angle == Fraction(955316619, GRID)
    assert check(net.certificate).verdict is Verdict.VALID
    assert second_opinion(net.certificate).verdict == "agrees"


def test_what_is_asked_for() -> None:
    axes = exactly(np.concatenate([np.eye(3), -np.eye(3)]))
    assert sphere_net(axes, Fraction(1)).angle == 1
    with pytest.raises(UsageError, match=r"cover with caps of angle 0.955316619, not with 0.9"):
        sphere_net(axes, Fraction(9, 10))
    with pytest.raises(UsageError, match="cover with balls of radius"):
        ball_net([[Fraction(0)] * 3, *axes], Fraction(1, 2), Fraction(1, 2))


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.eye(3), "no more points|lie in one plane"),
        (np.concatenate([np.eye(3), -np.eye(3)[:2]]), "the origin is not inside"),
        (np.concatenate([np.eye(3), -np.eye(3), np.eye(3)[:1]]), "point 6 repeats point 0"),
        (np.concatenate([np.eye(3), -np.eye(3), [[0.6, 0.6, 0.6]]]), "point 6 has norm 1.03923048"),
        (np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]), "lie in one plane"),
    ],
)
def test_points_that_are_no_net_of_the_sphere(points: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        sphere_net(exactly(points))
    assert "\n" not in str(error.value)


def test_points_that_are_no_net_of_the_ball() -> None:
    around = directions(30, 3) * 2
    for points, said in ((around + 3, "do not surround the origin"), (around[:3], "lie in one plane")):
        with pytest.raises(UsageError, match=said):
            ball_net(exactly(points), Fraction(1))


WRITERS: dict[str, Callable[[Path, Any], object]] = {
    ".npy": lambda path, x: np.save(path, x),
    ".npz": lambda path, x: np.savez(path, points=x),
    ".csv": lambda path, x: path.write_text("".join(",".join(map(repr, row)) + "\n" for row in x.tolist())),
    ".json": lambda path, x: path.write_text(json.dumps({"points": x.tolist()})),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    x, path = directions(20, 3), tmp_path / f"points{suffix}"
    WRITERS[suffix](path, x)
    assert np.abs(np.array(read_points(path), dtype=float) - x).max() < 1e-15
    assert net_of_file(path, sphere=True).count == 20
    assert net_of_file(path, sphere=False, radius=Fraction(1, 10)).ball_radius is not None


def test_a_safetensors_file(tmp_path: Path) -> None:
    save_file = needs("safetensors", "audit") and importlib.import_module("safetensors.numpy").save_file
    x = directions(20, 3)
    save_file({"points": x}, tmp_path / "points.safetensors")
    assert read_points(tmp_path / "points.safetensors") == exactly(x)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("points.txt", b"", "points are read from .npy"),
        ("points.npy", b"", "no table of points"),
        ("points.csv", b"1,0\n0\n", "points of one dimension"),
        ("points.csv", b"", "points of one dimension"),
        ("points.csv", b"1,x\n", "no number"),
        ("points.json", b"{}", "no table of points"),
        ("points.json", b'{"points": [[NaN, 1]]}', "no table of points"),
        ("points.json", b'{"points": 7}', "no table of points"),
        ("points.json", b"[[1], [2]]", "dimension, from 2 to 8"),
        ("points.safetensors", b"12345678", "no table of points"),
        ("missing.npy", None, "No such file"),
    ],
)
def test_files_that_hold_no_points(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said) as error:
        read_points(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_net(path: Path) -> None:
    """Its certificate is of exactly these points, of unit norm, and directions drawn at random are near them."""
    tree = document.load(ROOT / "certificates" / "covering" / f"nets-{path.stem}.json")
    (step,) = tree["steps"]
    rows = [[Fraction(int(n), int(row.split()[-1])) for n in row.split()[:-1]] for row in step["given"]["points"]]
    assert rows == read_points(path)
    assert path.stem.startswith("ball-") or all(sum(x * x for x in row) == 1 for row in rows)
    assert truly_covers(tree["statement"], step)


def test_all_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} == make_nets().NETS.keys()


def test_the_page_has_the_certificates_numbers() -> None:
    page = (ROOT / "docs" / "proofs" / "nets.md").read_text()
    found = re.findall(
        r"^\| `([\w-]+)` \| (sphere|ball), (\d) \| (\d+) \| ([\d.]+) \| ([\d,]+) \| ([\d,]+) \|", page, re.M
    )
    assert {row[0] for row in found} == {path.stem for path in SHIPPED}
    for name, body, dim, points, size, simplices, orthoplexes in found:
        tree = document.load(ROOT / "certificates" / "covering" / f"nets-{name}.json")
        claimed, given = tree["statement"], tree["steps"][0]["given"]
        assert (body, dim, points) == (claimed["body"], claimed["dim"], claimed["at_most"])
        counts = [len(given["simplices"]), len(given.get("orthoplexes", []))]
        assert [simplices, orthoplexes] == [f"{count:,}" for count in counts]
        exact = Fraction(claimed["angle" if body == "sphere" else "ball_radius"])
        assert 0 <= Fraction(size) - exact < Fraction(1, 10**6)


@pytest.mark.parametrize("name", QUICK)
def test_shipped_nets_are_made_again_bit_for_bit(name: str) -> None:
    scripts = make_nets()
    points = scripts.NETS[name]()
    assert scripts.table(points) == (ROOT / "instances" / "nets" / f"{name}.csv").read_bytes()
    net = scripts.certified(name, points)
    assert net.certificate == document.load(ROOT / "certificates" / "covering" / f"nets-{name}.json")
