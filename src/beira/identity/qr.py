"""QR codes as SVG, to be put into a page."""

from __future__ import annotations

import io

import segno


def svg(text: str) -> str:
    """`text` as a QR code, error correction M, black on white so that every camera reads it."""
    out = io.BytesIO()
    code = segno.make(text, error="m", micro=False)
    code.save(out, kind="svg", scale=4, border=4, dark="#000", light="#fff", xmldecl=False)
    return out.getvalue().decode()
