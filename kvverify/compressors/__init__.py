"""Compressors under audit: the protocol, native ones one file each, adapters for other people's."""
