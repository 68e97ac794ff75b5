"""The catalogue against its recipes, and names against families."""

from __future__ import annotations

import random
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from kvverify.codes import by_name, families
from kvverify.codes.catalogue import CatalogueCode, catalogue
from kvverify.codes.recipes import linear_by_name
from kvverify.errors import UsageError


def sample() -> list[CatalogueCode]:
    """Sixty entries, and those of the headline."""
    entries = [entry for entry in catalogue() if min(entry.dimension, entry.length - entry.dimension) <= 21]
    return random.Random(4).sample(entries, 60)


@pytest.mark.parametrize("entry", sample(), ids=lambda entry: entry.name)
def test_entry_is_what_its_recipe_gives(entry: CatalogueCode) -> None:
    code = linear_by_name(entry.name)
    assert code.name == entry.name
    assert (code.length, code.dimension) == (entry.length, entry.dimension)
    assert code.exponents() == entry.exponents()
    assert entry.step() == code.step()


def test_every_entry_counts_all_words() -> None:
    for entry in catalogue():
        assert sum(entry.exponents().values()) == entry.size - 1
        assert min(entry.exponents()) >= 1
        assert max(entry.exponents()) <= entry.length


def test_headline_codes_are_there() -> None:
    best = {(entry.length, entry.dimension): min(entry.exponents().items()) for entry in reversed(catalogue())}
    assert best[24, 12] == (8, 759)
    assert best[28, 17] <= (6, 413)
    assert best[30, 20][0] == 5
    assert best[128, 15] == (56, 8128)


def test_size_of_the_file_and_time_of_a_search() -> None:
    assert len(files("kvverify.codes").joinpath("catalogue.json").read_bytes()) < 620_000
    catalogue.cache_clear()
    start = time.process_time()
    found = [family.exponents() for family in families(4096, 128)]
    assert time.process_time() - start < 0.3
    assert len(found) > 500


@pytest.mark.parametrize(
    "name",
    [
        "", "golay", "golay()", "golay(24", "golay(24,1)", "golay(24) ", "golay(24) shortened",
        "golay(24) subcode at 3", "golay(24) shortened at 4-2", "golay(24) shortened 1,2", "golay(24)shortened 1",
        "kerdock(16) shortened 1", "kerdock(32)", "extended-bch(7)", "nonsense(3)", "hypercube(0)", "hypercube(129)",
        "paraboloid(1,2)", "random-signs(0,8,1)", "explicit(nowhere.npy)",
    ],
)  # fmt: skip
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError):
        by_name(name)


def test_positions_by_ranges() -> None:
    one = linear_by_name("golay(24) shortened at 0,3-5 punctured 2 subcode 6")
    other = linear_by_name("golay(24) shortened at 0,3,4,5 punctured at 18-19 subcode 6")
    assert one.rows == other.rows
    assert one.name == "golay(24) shortened at 0,3-5 punctured 2 subcode 6"


@pytest.mark.parametrize("suffix", ["npy", "txt", "safetensors"])
def test_keys_from_files(tmp_path: Path, suffix: str) -> None:
    table = np.array([[3, -1, 0], [0, 2, 3], [-3, 0, 1]])
    path = tmp_path / f"keys.{suffix}"
    if suffix == "npy":
        np.save(path, table.astype(np.float32))
    elif suffix == "txt":
        np.savetxt(path, table, fmt="%d")
    else:
        pytest.importorskip("safetensors.numpy").save_file({"keys": table}, path)
    family = by_name(f"explicit({path})")
    assert np.array_equal(family.keys(3), table)
    assert family.dim == 3


def test_fractions_are_no_keys(tmp_path: Path) -> None:
    np.save(tmp_path / "half.npy", np.array([[0.5, 1.0]]))
    with pytest.raises(UsageError, match="table of integers"):
        by_name(f"explicit({tmp_path / 'half.npy'})")
