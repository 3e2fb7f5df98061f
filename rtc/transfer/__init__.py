"""Files over a link: streamed from and to disk, constant memory, verified before anybody may use them.

Rule of the room: nothing is believed that the other side says about names, sizes or offsets; a file that has its final
name is whole.
"""

from rtc.transfer.lane import TransferLane
from rtc.transfer.receiver import Incoming
from rtc.transfer.sender import send_file

__all__ = ["Incoming", "TransferLane", "send_file"]
