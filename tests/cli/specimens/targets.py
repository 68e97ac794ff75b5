"""Targets of an audit that fail, each in its own way."""

from __future__ import annotations

import time

import torch


class Zero:
    """Keeps nothing and answers zero."""

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


class Raises(Zero):
    def absorb(self, queries, keys, values):
        raise KeyError("no room\nfor more")


class Hangs(Zero):
    def message(self):
        time.sleep(600)


class Nan(Zero):
    def attend(self, queries, own_keys, own_values):
        return super().attend(queries, own_keys, own_values) + float("nan")


class Shape(Zero):
    def attend(self, queries, own_keys, own_values):
        return super().attend(queries, own_keys, own_values)[..., :-1]


class Dtype(Zero):
    def attend(self, queries, own_keys, own_values):
        return super().attend(queries, own_keys, own_values).to(torch.int64)
