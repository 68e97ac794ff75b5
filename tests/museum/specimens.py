"""Every cheat with its declared outcome, and the page that shows them: ``python -m tests.museum.specimens``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.md")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "museum.md"
ALL = ("landlock", "namespaces")


@dataclass(frozen=True)
class Outcome:
    """Under these isolations: the flags, or an end with this reason; ``chance``: nothing came back."""

    isolation: tuple[str, ...]
    flags: tuple[str, ...] = ()
    chance: bool = False
    reason: str = ""
    slow: bool = False


@dataclass(frozen=True)
class Specimen:
    """A cheat: its class, what it does, what stops it, and how it ends. ``claim``: words of the claim beside it."""

    name: str
    does: str
    stopped: str
    outcomes: tuple[Outcome, ...]
    claim: str = ""
    seconds: float = 60.0
    memory_bytes: int = 1 << 34


def hidden(*, slow: bool = True) -> tuple[Outcome, ...]:
    """What is hidden outside of the message is seen without isolation, and stays there with it."""
    return Outcome(("none",), ("HIDDEN STATE",), slow=slow), Outcome(ALL, chance=True)


NOWHERE = (Outcome(("none", *ALL), chance=True),)
DENSE = "NOT A COMPRESSOR"
CLAIM = "BYTES > CLAIM"
FRESH = "Bob is a fresh process."


def counted(*flags: str, slow: bool = True) -> tuple[Outcome, ...]:
    """What is in the message is counted, whatever it is called."""
    return (Outcome(("strongest",), flags, slow=slow),)


SPECIMENS = (
    Specimen("hiding.py:ModuleGlobal", "keeps the cache in a global of its module", FRESH, NOWHERE),
    Specimen("hiding.py:ClassAttribute", "keeps it in an attribute of its class", FRESH, NOWHERE),
    Specimen(
        "hiding.py:EnvironmentVariable", "keeps it in the environment",
        "Each player has a scrubbed environment of its own.", NOWHERE,
    ),
    Specimen(
        "hiding.py:TemporaryFile", "writes a file named after the message: `/dev/shm`, `/tmp`, its own folder",
        "Nothing outside of the player's scratch folder can be written.", hidden(slow=False),
    ),
    Specimen(
        "hiding.py:PublicConfiguration", "rewrites its own settings file once it knows the stream",
        "Its folder is read-only. Without isolation the changed hash is seen too.", hidden(),
    ),
    Specimen(
        "hiding.py:FileTimes", "writes no byte: it sets the times of files in its folder, to the nanosecond",
        "Under Landlock the filter refuses to change times, modes, owners, attributes and flags of files; read-only "
        "mounts refuse it by themselves.", hidden(),
    ),
    Specimen(
        "hiding.py:SharedMemory", "leaves a segment of System V shared memory",
        "The filter refuses it; in namespaces Bob has another IPC namespace.", hidden(),
    ),
    Specimen(
        "hiding.py:BackgroundProcess", "leaves the session with a child that serves the cache over TCP",
        "The filter refuses sockets and leaving the session; the session is killed before Bob begins.", hidden(),
    ),
    Specimen(
        "hiding.py:AbstractSocket", "the same over a UNIX socket with a name and no file", "The same.", hidden(),
    ),
    Specimen(
        "hiding.py:RefereeMemory", "Bob searches the referee's memory for the secret",
        "Landlock hides other processes; in namespaces players have no capabilities, and the referee has. Without "
        "isolation it works for root, and wherever a process may look at its parent.", hidden(), seconds=300.0,
    ),
    Specimen(
        "hiding.py:Clock", "Alice ends at a moment whose fraction of a second says four bits",
        "Nothing: clocks stay readable. Bits that are certified keep a margin of 40, and four are not enough for one.",
        NOWHERE,
    ),
    Specimen(
        "lying.py:BehindAView", "sends a view of no elements, with the cache in its storage, and claims 64 bits",
        "A view travels as its elements; the storage counts as held.",
        (Outcome(("strongest",), (DENSE, CLAIM), chance=True),),
    ),
    Specimen(
        "lying.py:Strides", "a tensor of one element whose strides are the cache",
        "Tensors travel as their elements in order.", NOWHERE,
    ),
    Specimen("lying.py:LyingDtype", "says 2 bits a scalar, and sends 32 as bytes", "Bytes are counted.",
             counted(DENSE, CLAIM)),
    Specimen("lying.py:HeaderSmuggler", "no tensor: the cache is a remark among settings",
             "Names, scalars and shapes are bytes of the wire.", counted(DENSE, CLAIM, slow=False)),
    Specimen("lying.py:LongKeyName", "the cache is the name of a key", "The same.", counted(DENSE, CLAIM)),
    Specimen("lying.py:EncodedSeed", "a seed chosen to encode the cache: one integer of any size", "The same.",
             counted(DENSE)),
    Specimen("lying.py:NanPayload", "sends NaN, with the cache in the bits that no NaN needs",
             "Elements are counted by their dtype.", counted(DENSE, CLAIM)),
    Specimen("lying.py:NegativeZeros", "sends zeros, with a bit in the sign of each", "The same.",
             counted(DENSE, CLAIM)),
    Specimen(
        "lying.py:PatchedEncoder", "replaces the audit's encoder, decoder and scales by its own, and claims 0 bits",
        "The referee counts what comes over the pipe, in a process of its own.", counted(DENSE, CLAIM),
    ),
    Specimen(
        "lying.py:Forgetful", "answers differently when asked again",
        "Each question is asked twice, in opposite order.", counted("HIDDEN STATE", slow=False),
    ),
    Specimen(
        "lying.py:IgnoresItsState", "a small message, and answers that never look at it",
        "Its answers are at chance, which refutes what it claims.",
        (Outcome(("strongest",), ("CLAIM REFUTED",), chance=True),),
        claim="bits-per-token=1024,tolerance=1/4,failure=1/10",
    ),
    Specimen(
        "lying.py:Boaster", "a good compressor that claims 100 bits in all",
        "What it holds is more, and no compressor can keep the claim: the certificate is named.",
        counted(CLAIM, "CLAIM IMPOSSIBLE"), claim="tolerance=1/50,failure=1/10",
    ),
    Specimen(
        "lying.py:DeadWeight", "sends a second copy of the values that no answer reads",
        "No flag, since it is counted like all else: the report names the tensor as never read.",
        counted(),
    ),
    Specimen("lying.py:Honest", "no cheat: signs of the keys, a byte for each value", "-", counted()),
    Specimen(
        "wild.py:Hangs", "never answers, and leaves a child that sleeps", "`--timeout`; the session is killed.",
        (Outcome(("strongest",), reason="Bob did not finish within 4 s (--timeout)", slow=True),), seconds=4.0,
    ),
    Specimen(
        "wild.py:Hoards", "takes all the memory that it can", "`--memory`.",
        (Outcome(("strongest",), reason="Alice: MemoryError"),), memory_bytes=1 << 30,
    ),
    Specimen(
        "wild.py:Multiplies", "starts processes without end", "64 at a time; the session is killed.",
        (Outcome(("strongest",), reason="Alice had more than 64 processes at a time"),),
    ),
)  # fmt: skip


def page() -> str:
    """The page."""
    rows = []
    for one in SPECIMENS:
        outcomes = "; ".join(f"{', '.join(o.isolation)}: {said(o)}" for o in one.outcomes)
        claim = f" (with `--claim {one.claim}`)" if one.claim else ""
        rows.append(f"| `{one.name}` | {one.does}{claim} | {outcomes} | {one.stopped} |")
    return TEMPLATE.read_text().replace("{rows}", "\n".join(rows))


def said(outcome: Outcome) -> str:
    """An outcome in words."""
    if outcome.reason:
        return f"INCOMPLETE, `{outcome.reason}`"
    words = [f"`{flag}`" for flag in outcome.flags] or ([] if outcome.chance else ["NO FLAG"])
    return ", ".join([*words, *(["at chance"] if outcome.chance else [])])


if __name__ == "__main__":
    PAGE.write_text(page())
