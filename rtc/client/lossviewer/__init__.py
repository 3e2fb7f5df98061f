"""The bridge to SLEAP's LossViewer: progress published over ZMQ, stop commands taken from it."""
