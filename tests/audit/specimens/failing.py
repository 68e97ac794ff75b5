"""Compressors that fail, each in its own way, on one side or the other."""

from __future__ import annotations

import os
import sys
import time

import torch


class Nothing:
    """Holds nothing and answers zero."""

    def __init__(self, settings):
        self.settings = settings

    def absorb(self, queries, keys, values):
        pass

    def message(self):
        return {}

    def load(self, message):
        pass

    def attend(self, queries, own_keys, own_values):
        return torch.zeros(*queries.shape[:3], own_values.shape[3])


class Raises(Nothing):
    def absorb(self, queries, keys, values):
        raise KeyError("no room\nfor more")


class Hangs(Nothing):
    """Bob never answers, and neither does his child."""

    def attend(self, queries, own_keys, own_values):
        os.fork()
        time.sleep(600)


class NotANumber(Nothing):
    """Half of the answers are NaN; and it shouts, on the pipe that a careless player would answer on."""

    def attend(self, queries, own_keys, own_values):
        print("noise" * 100_000)
        os.write(1, b"\0" * 1000)
        sys.stdout.flush()
        answers = super().attend(queries, own_keys, own_values)
        answers[..., ::2] = float("nan")
        return answers


class Dies(Nothing):
    def message(self):
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)


class Greedy(Nothing):
    def message(self):
        return torch.ones(1 << 40, dtype=torch.uint8)
