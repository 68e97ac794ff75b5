"""The two ways in which a command can fail to answer; both carry one line for people."""

from __future__ import annotations


class UsageError(Exception):
    """Wrong usage (exit code 2): the message says what was given and what would be right."""


class Incomplete(Exception):
    """Could not be decided (exit code 3): a limit, an absent file, a compressor that failed."""
