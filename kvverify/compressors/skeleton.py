"""The file that ``kvverify new-compressor FILE.py`` writes: a compressor of one's own to start from."""

from __future__ import annotations

SKELETON = '''"""My KV cache compressor. Test it: pytest THIS_FILE.py. Audit it: kvverify audit THIS_FILE.py:Mine"""

from kvverify.compressors.base import StoredCache
from kvverify.compressors.selftest import selftest


class Mine(StoredCache):
    """Keeps keys and values, (batch, kv_heads, tokens, dim), in half precision. Replace this by your idea."""

    def absorb(self, queries, keys, values):
        self.append(keys=keys.half(), values=values.half())

    def read(self):
        return self.pair()


def test_mine():
    selftest(Mine)
'''
