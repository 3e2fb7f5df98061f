"""File transfers over a link: streamed from and to disk, in constant memory, and verified by SHA-256 before use.

Rule: names, sizes and offsets that the peer sends are checked, never trusted; a file that has its final name is
complete.
"""

from rtc.transport.files.channel import FileChannel
from rtc.transport.files.receiver import Incoming
from rtc.transport.files.sender import send_file

__all__ = ["FileChannel", "Incoming", "send_file"]
