"""What a player does to itself before it loads anything that it did not bring: limits, then the strongest isolation.

Only the standard library: no thread may be running yet.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass

from kvverify.audit import capabilities, landlock, namespaces, seccomp

_PARENT_DEATH_SIGNAL = 1
KINDS = ("landlock", "namespaces", "none")


@dataclass(frozen=True)
class Cell:
    """What a player may touch: folders to read, folders to list, its scratch, device files; memory in bytes."""

    read: tuple[str, ...]
    listed: tuple[str, ...]
    scratch: str
    devices: tuple[str, ...]
    memory_bytes: int
    isolation: str


def confine(cell: Cell) -> tuple[str, str]:
    """Enter the cell for good. Returns the isolation in force (landlock, namespaces, none) and how it is made.

    ``cell.isolation`` is one kind, or "strongest": Landlock inside of namespaces where both can be had (then called
    landlock), else the one that can. Raises OSError where a kind that was asked for cannot be had.
    """
    _limits(cell.memory_bytes)
    if cell.isolation == "none":
        return "none", "no isolation was asked for"
    ways: dict[str, Callable[[Cell], str]] = {"namespaces": _namespaces, "landlock": _landlock}
    if cell.isolation != "strongest":
        return cell.isolation, ways[cell.isolation](cell) + _rest()
    kind, entered, refused = "none", [], []
    for name, enter in ways.items():  # a process in a Landlock domain cannot mount: namespaces first
        try:
            entered.append(enter(cell))
            kind = name
        except OSError as error:
            refused.append(f"{name}: {error.strerror}")
    return (kind, " in ".join(reversed(entered)) + _rest()) if entered else (kind, "; ".join(refused))


def end_with(parent: int) -> None:
    """End when the process that started this one does, by whatever: not at all where there is no such signal.

    For a player that is at work; one that waits sees its pipe end.
    """
    if hasattr(libc := ctypes.CDLL(None), "prctl"):
        libc.prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _limits(memory_bytes: int) -> None:
    """Private writable memory (RLIMIT_DATA: a GPU reserves addresses without end, but not as data); no core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory_bytes, memory_bytes))


def _landlock(cell: Cell) -> str:
    if not landlock.abi():
        raise OSError(0, "the kernel has no Landlock")
    everything = landlock.writable()
    version = landlock.lock(
        [
            dict.fromkeys(cell.listed, landlock.LIST),
            dict.fromkeys(cell.read, landlock.READ),
            dict.fromkeys(cell.devices, landlock.READ_FILE | landlock.WRITE_FILE | landlock.IOCTL_DEV),
            {f"/proc/{os.getpid()}": landlock.READ, cell.scratch: everything},
        ]
    )
    return f"Landlock ABI {version}"


def _namespaces(cell: Cell) -> str:
    namespaces.lock(cell.scratch)
    return "mount, network and IPC namespaces"


def _rest() -> str:
    """Capabilities given up and, where this machine's calls are known, the filter."""
    capabilities.drop()
    if not seccomp.available():
        return ", no system call filter on this machine"
    try:
        seccomp.lock()
    except OSError as error:
        return f", no system call filter ({error.strerror})"
    return " with a system call filter"
