"""The worker program: one GPU, offered to a room; its jobs and their results."""
