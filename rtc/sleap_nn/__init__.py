"""sleap-nn as a program: its command lines, and what it says on its outputs and over ZMQ. It is never imported."""
