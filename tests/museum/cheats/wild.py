"""Players that do not end, or take more than they are given."""

from __future__ import annotations

import os
import time

from kept import Kept


class Hangs(Kept):
    """Never answers, and neither does its child."""

    def attend(self, queries, own_keys, own_values):
        os.fork()
        time.sleep(600)


class Hoards(Kept):
    """Takes memory, a mebibyte at a time."""

    def message(self):
        held = []
        while True:
            held.append(bytearray(1 << 20))


class Multiplies(Kept):
    """Starts processes that do nothing."""

    def message(self):
        for _ in range(100):
            if os.fork() == 0:
                time.sleep(600)
        time.sleep(600)
