"""`training.html`: a page beside the trained models with their loss curves and metrics.

Rule: the page shows numbers; it never judges them.
"""

import os
import secrets
from pathlib import Path

from protocol.jobs import MODELS_MAX
from rtc.client.report.history import read_histories
from rtc.client.report.page import render_page

__all__ = ["PAGE", "write_report"]

PAGE = "training.html"


def write_report(output: Path, title: str) -> Path | None:
    """Write the page into a folder of unpacked results; return its path, or None when no model was trained there.

    This call may block for a while. The page appears complete or not at all.

    Args:
        output: the folder of unpacked results.
        title: the heading of the page.

    Raises:
        OSError: the folder cannot be read or written.
    """
    histories = read_histories(output, MODELS_MAX)
    if not histories:
        return None
    path, partial = output / PAGE, output / f".{PAGE}.{secrets.token_hex(4)}"
    try:
        partial.write_text(render_page(title, histories), encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
