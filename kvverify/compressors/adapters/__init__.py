"""Adapters: other people's caches behind the compressor protocol; the only place that imports their packages, late."""
