"""Hard instances: a secret payload laid out as a token stream, and read back from answers."""
