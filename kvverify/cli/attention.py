"""``bound`` for visual and tensor attention: which options go together, and the pyramid that they describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kvverify.errors import UsageError

if TYPE_CHECKING:
    from kvverify.attention.visual import Scales
    from kvverify.bounds.attention import AttentionBound
    from kvverify.problem import Problem

_KINDS = ("softmax", "visual", "tensor")


@dataclass(frozen=True)
class Pyramid:
    """The maps of a question about visual attention; ``free``: about any streams of their tokens."""

    scales: Scales
    kernel: str
    cut: str
    free: bool

    @property
    def tokens(self) -> int:
        """In the cache at the cut."""
        from kvverify.bounds.attention import visual_tokens

        return visual_tokens(self.scales, self.cut)

    def words(self) -> dict[str, Any]:
        """The fields of an answer about free streams."""
        from kvverify.bounds.attention import visual_words

        return {"attention": "visual", **visual_words(self.scales, self.kernel, self.cut), "realisable": False}

    @property
    def line(self) -> str:
        """The same for people."""
        return (
            f"Maps {','.join(map(str, self.scales))}, cut {self.cut}: any streams of their tokens, interpolated or not."
        )


def pyramid(
    attention: str | None, tokens: str | None, scales: str | None, kernel: str | None, cut: str | None, free: bool
) -> Pyramid | None:
    """What the options say of maps; None for another attention. Raises UsageError where they do not go together."""
    from kvverify.attention.visual import CUTS, KERNELS, parse_scales

    if attention not in (None, *_KINDS):
        raise UsageError(f"attention: {attention!r} given, one of {', '.join(_KINDS)} is needed")
    if attention != "visual":
        if (scales, kernel, cut, free) != (None, None, None, False):
            raise UsageError("--scales, --kernel, --cut and --free-streams go with --attention visual")
        return None
    if tokens is not None:
        raise UsageError("--tokens is no option of --attention visual: the scales and the cut say it")
    if scales is None:
        raise UsageError("--attention visual needs --scales, such as 1,2,4 or var")
    found = Pyramid(parse_scales(scales), kernel or "bicubic", cut or "between-steps", free)
    for name, word, words in (("kernel", found.kernel, KERNELS), ("cut", found.cut, CUTS)):
        if word not in words:
            raise UsageError(f"{name}: {word!r} given, one of {', '.join(words)} is needed")
    return found


def answer_of(maps: Pyramid | None, asked: Problem, **refused: object) -> AttentionBound:
    """The bound of tensor attention, or of streams that maps make. ``refused``: options that mean nothing there."""
    from kvverify.bounds.attention import tensor_question, visual_question

    for name, given in {**refused, "body": asked.body != "cube", "inputs": asked.inputs != "real"}.items():
        if given:
            kind = "tensor" if maps is None else "visual"
            raise UsageError(f"--{name.replace('_', '-')} has no meaning for --attention {kind}: leave it out")
    return tensor_question(asked) if maps is None else visual_question(maps.scales, maps.kernel, maps.cut, asked)
