"""Makes folders that only this user can look into."""

from pathlib import Path


def make_private_folder(folder: Path) -> None:
    """Make a folder and its missing parents with mode 0700; those that exist keep their mode.

    Raises:
        OSError: one of them cannot be made, or is no folder.
    """
    for each in (*reversed(folder.parents), folder):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)
