"""The bridge to SLEAP's LossViewer: publishes progress over ZeroMQ, and receives stop commands."""
