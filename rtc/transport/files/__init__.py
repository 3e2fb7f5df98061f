"""Files over a link: streamed from and to disk, constant memory, verified before anybody may use them.

Rule of the room: nothing is believed that the other side says about names, sizes or offsets; a file that has its final
name is whole.
"""

from rtc.transport.files.channel import FileChannel
from rtc.transport.files.receiver import Incoming
from rtc.transport.files.sender import send_file

__all__ = ["FileChannel", "Incoming", "send_file"]
