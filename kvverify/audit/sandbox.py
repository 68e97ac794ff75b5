"""The referee's handle on one player: a fresh interpreter in a cell of its own, bounded in time, memory and noise."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kvverify.audit import pipe
from kvverify.audit.confine import Cell
from kvverify.errors import Incomplete, UsageError

if TYPE_CHECKING:
    import numpy as np

_PACKAGE = Path(__file__).resolve().parents[1]
_START = "import sys; sys.path.insert(0, sys.argv[1]); from kvverify.audit.player import main; main()"
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/sys/devices/system", "/proc/cpuinfo", "/proc/meminfo",
           "/proc/driver/nvidia", "/sys/class/drm", "/sys/bus/pci")  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_PASSED_ON = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "SYSTEMROOT")
_NOISE_KEPT = 2000
MAX_PROCESSES = 64
"""Of a player at one time; each has the bound on memory."""
_LOOK_SECONDS = 0.5
_NOTHING = object()
# Processes and pipes may vanish between look and touch; that is what was wanted.
_GONE = contextlib.suppress(ProcessLookupError, FileNotFoundError, BrokenPipeError)


class PlayerFailed(Incomplete):
    """A player raised, hung, died or wrote nonsense; the message says in one line who and what."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on one player: wall-clock seconds, bytes of private memory, the isolation asked for."""

    seconds: float
    memory_bytes: int
    isolation: str = "strongest"


class Player:
    """A player's process (context manager). Leaving ends the process, all that it started, and its scratch folder."""

    def __init__(self, role: str, limits: Limits, job: Mapping[str, Any]) -> None:
        """Start ``role`` ("alice" or "bob") with a public job; its folders, the compressor's code, are read-only.

        The player confines itself, imports what is ours, and waits for ``begin``.
        """
        self.role = role.capitalize()
        self._limits = limits
        self._ended = ""
        self._noise = b""
        self._over = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, daemon=True)
        self._scratch = tempfile.mkdtemp(prefix=f"kvverify-{role}-")
        try:
            self._process = self._started(role, job)
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()
        except BaseException:  # an interrupt too: no ``with`` is there yet that would clean up
            if hasattr(self, "_process"):
                _kill_session(self._process.pid)
                self._process.wait()
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise

    def _started(self, role: str, job: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        cell = Cell(
            read=(*_interpreter(), str(_PACKAGE), *job["folders"], *_SYSTEM),
            listed=(str(_PACKAGE.parent),),
            scratch=self._scratch,
            devices=(*_DEVICES, *map(str, Path("/dev").glob("nvidia*"))),
            memory_bytes=self._limits.memory_bytes,
            isolation=self._limits.isolation,
        )
        text = json.dumps({**job, "role": role, "referee": os.getpid(), "cell": dataclasses.asdict(cell)})
        return subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", _START, str(_PACKAGE.parent), text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(self._scratch),
            cwd=self._scratch,
            start_new_session=True,
        )

    def begin(self) -> tuple[str, str]:
        """Let the player load the compressor; its time runs from now on. Returns its isolation, and how it is made."""
        seated, _ = self.receive(0, {"isolation": str, "how": str})
        self._watchdog.start()
        self.send({})
        return seated["isolation"], seated["how"]

    def __enter__(self) -> Player:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._watchdog.is_alive():
            self._watchdog.join()
        # The leader is reaped last: until then nobody else can be given its number.
        _kill_session(self._process.pid)
        self._process.wait()
        self._listener.join(timeout=1)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with _GONE:
                stream.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def send(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Hand the player a frame. Raises PlayerFailed when it is no longer there."""
        assert self._process.stdin is not None
        try:
            pipe.write(self._process.stdin, header, arrays)
        except BrokenPipeError:
            # What it said before it died, if anything, is the better reason.
            self.receive(0, {})
            raise PlayerFailed(self._reason()) from None

    def receive(
        self, limit: int, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...] | None] | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The player's next frame: ``fields`` by name and type, arrays by name and shape, at most ``limit`` bytes.

        Raises PlayerFailed when there is none, or another.
        """
        assert self._process.stdout is not None
        try:
            header, arrays = pipe.read(self._process.stdout, limit)
        except EOFError:
            raise PlayerFailed(self._reason()) from None
        except pipe.BadFrame as error:
            raise PlayerFailed(f"{self.role} wrote {error} on the pipe") from None
        if "error" in header:
            line = str(header["error"])[:400]
            raise UsageError(line) if header.get("usage") is True else PlayerFailed(f"{self.role}: {line}")
        for name, shape in (shapes or {}).items():
            if name not in arrays or shape not in (None, arrays[name].shape):
                raise PlayerFailed(f"{self.role} wrote no array {name!r}" + (f" of shape {shape}" if shape else ""))
        for name, kind in fields.items():
            if not isinstance(header.get(name, _NOTHING), kind):
                raise PlayerFailed(f"{self.role} wrote no field {name!r}")
        return {name: header[name] for name in fields}, arrays

    def _reason(self) -> str:
        end = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        if self._ended:
            return f"{self.role} {self._ended}"
        self._listener.join(timeout=1)
        last = self._noise.decode(errors="replace").strip().rpartition("\n")[2]
        if end is not None and end.si_code == os.CLD_EXITED:
            how = f"exit code {end.si_status}"
        else:
            how = f"signal {end.si_status if end else 'unknown'}"
        return f"{self.role}'s process ended early ({how})" + (f": {last[:300]}" if last else "")

    def _listen(self) -> None:
        """Drain what the player prints, whatever the amount; the last lines are kept."""
        assert self._process.stderr is not None
        with self._process.stderr as noise:
            while block := noise.read1(1 << 16):  # type: ignore[attr-defined]
                self._noise = (self._noise + block)[-_NOISE_KEPT:]

    def _watch(self) -> None:
        """End the player when its time is over, or when it has too many processes."""
        deadline = time.monotonic() + self._limits.seconds
        while not self._over.wait(max(0.0, min(_LOOK_SECONDS, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                self._ended = f"did not finish within {self._limits.seconds:g} s (--timeout)"
            elif len(_session(self._process.pid)) > MAX_PROCESSES:
                self._ended = f"had more than {MAX_PROCESSES} processes at a time"
            if self._ended:
                _kill_session(self._process.pid)
                return


def _interpreter() -> tuple[str, ...]:
    """Folders of the interpreter and of the installed packages."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values(), *site.getsitepackages()}
    return tuple(sorted(str(Path(path).resolve()) for path in paths))


def _environment(scratch: str) -> dict[str, str]:
    """A scrubbed environment; threads that wait passively, or two players' figures flip between runs."""
    tools = [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PATH": os.pathsep.join(tools),
        "HOME": scratch,
        "TMPDIR": scratch,
        "LANG": "C.UTF-8",
        "OMP_WAIT_POLICY": "passive",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "HF_HUB_OFFLINE": "1",
        "TORCH_EXTENSIONS_DIR": _extensions(scratch),
    }


def _extensions(scratch: str) -> str:
    """A player's own copy of the torch extensions that this machine has built: public code, nothing comes back."""
    built = Path(os.environ.get("TORCH_EXTENSIONS_DIR", Path.home() / ".cache" / "torch_extensions"))
    own = Path(scratch) / "torch_extensions"
    if built.is_dir():
        shutil.copytree(built, own, ignore=shutil.ignore_patterns("lock"))
    else:
        own.mkdir()
    return str(own)


def _kill_session(leader: int) -> None:
    """Kill every living process of a player's session, until none is left (or, unkillable, for five seconds)."""
    deadline = time.monotonic() + 5
    while (members := _session(leader)) and time.monotonic() < deadline:
        for member in members:
            with _GONE:
                os.kill(member, signal.SIGKILL)
        time.sleep(0.001)


def _session(leader: int) -> list[int]:
    """Living processes of a session, from /proc."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with _GONE:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                members.append(int(stat.parent.name))
    return members
