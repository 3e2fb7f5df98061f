"""Where the recorded conversations are: those of each version of the protocol in a folder of its own.

`record_conversations.py` records them; its docstring says when, and what is in a file.
"""

import json
from pathlib import Path
from typing import Any

Frame = dict[str, Any]

_FOLDER = Path(__file__).parents[1] / "data" / "conversations"
_NAME = "version-"


def folder_of(version: int) -> Path:
    """Return the folder of a version's conversations, whether it is there or not."""
    return _FOLDER / f"{_NAME}{version}"


def recorded_versions() -> list[int]:
    """Return the versions that have a folder, the oldest first."""
    return sorted(int(folder.name.removeprefix(_NAME)) for folder in _FOLDER.glob(f"{_NAME}*"))


def conversations(version: int) -> list[Path]:
    """Return the files of a version's conversations."""
    return sorted(folder_of(version).glob("*.jsonl"))


def frames_of(path: Path) -> list[Frame]:
    """Return the frames of a conversation."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
