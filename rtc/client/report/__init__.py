"""`training.html`: what came of a training, as a page beside the models. Its one rule: it shows, and never judges."""

import os
import secrets
from pathlib import Path

from protocol.jobs import MODELS_MAX
from rtc.client.report.history import read_histories
from rtc.client.report.page import page

__all__ = ["PAGE", "write_report"]

PAGE = "training.html"


def write_report(output: Path, title: str) -> Path | None:
    """Write the page into a folder of unpacked results; None when nothing was trained there.

    It may block for a while. The page appears whole or not at all.

    Raises:
        OSError: the folder cannot be read or written.
    """
    histories = read_histories(output, MODELS_MAX)
    if not histories:
        return None
    path, part = output / PAGE, output / f".{PAGE}.{secrets.token_hex(4)}"
    try:
        part.write_text(page(title, histories), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
