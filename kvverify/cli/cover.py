"""``cover``: covering numbers of balls and spheres, from both sides."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvverify.cli.options import Json, count, positive
from kvverify.cli.output import apart, save, show
from kvverify.errors import UsageError

if TYPE_CHECKING:
    from kvverify.covering.nets import Net


def cover(
    dim: Annotated[str | None, typer.Option(help="Dimension of the space.")] = None,
    radius: Annotated[str | None, typer.Option(help="Radius of the ball that is covered (1).")] = None,
    ball_radius: Annotated[str | None, typer.Option(help="Radius of the balls that cover it.")] = None,
    sphere: Annotated[bool, typer.Option("--sphere", help="Cover the unit sphere of that space by caps.")] = False,
    angle: Annotated[str | None, typer.Option(help="Angle of the caps, radians.")] = None,
    net: Annotated[Path | None, typer.Option(help="Points of a net: certify that they cover.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the certificate here.")] = None,
    as_json: Json = False,
) -> None:
    """How many balls cover a ball, or caps a sphere: the best proved bounds of both sides."""
    from kvverify.covering import Question, best_cover
    from kvverify.report.covers import cover_json, cover_text

    if sphere and (radius is not None or ball_radius is not None):
        raise UsageError("--sphere is the unit sphere: give --angle, not --radius or --ball-radius")
    if not sphere and angle is not None:
        raise UsageError("--angle is that of caps: it goes with --sphere, and --ball-radius with a ball")
    apart(output, net)
    size = {"angle": angle} if sphere else {"ball-radius": ball_radius}
    name, word = next(iter(size.items()))
    asked = None if word is None else positive(word, name)
    length = None if sphere else positive(radius or "1", "radius")
    found = None
    if net is not None:
        found = _net(net, sphere, length, asked)
        if dim is not None and count(dim, "dim") != found.dim:
            raise UsageError(f"dim: {dim} given, but the net's points have {found.dim} coordinates")
        dim, asked = str(found.dim), asked or (found.angle if sphere else found.ball_radius)
    if dim is None or asked is None:
        raise UsageError(f"give --dim and --{name}{' with --sphere' if sphere else ''}, or a file --net")
    question = Question(count(dim, "dim"), length, None if sphere else asked, asked if sphere else None)
    bounds = best_cover(question, found)
    if output is not None:
        save(output, bounds.certificate)
    show((cover_json if as_json else cover_text)(bounds, output))


def _net(path: Path, sphere: bool, radius: Fraction | None, asked: Fraction | None) -> Net:
    """The file's net, for the sizes that are asked of it."""
    from kvverify.covering.nets import net_of_file

    if sphere:
        return net_of_file(path, sphere=True, angle=asked)
    return net_of_file(path, sphere=False, radius=radius or Fraction(1), ball_radius=asked)
