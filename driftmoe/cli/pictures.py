"""Options of pictures."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Format = Annotated[Literal["png", "svg", "pdf"], typer.Option("--format", help="Format of the pictures.")]
Style = Annotated[
    Literal["screen", "paper"],
    typer.Option(help="Size and fonts of the pictures; paper: 16 cm wide, serif, without a heading."),
]
