"""Native compressors: one file each, found by its name; its one class is the compressor."""
