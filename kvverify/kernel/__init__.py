"""The trusted part: re-proves certificates in exact arithmetic, on the standard library alone."""
