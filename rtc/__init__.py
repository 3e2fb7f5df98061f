"""What is done: every outside library, each in one room, and the composition of each program.

Rule of the room: whatever touches a socket, a file, a process or asyncio lives here; what is decided lives in `actors`.
"""
