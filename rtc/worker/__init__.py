"""The worker program: it offers one GPU to a room, runs jobs on it, and stores their results."""
