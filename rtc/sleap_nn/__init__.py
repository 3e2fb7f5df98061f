"""Run sleap-nn as a program: build its command lines, and read what it prints and publishes over ZMQ.

sleap-nn is never imported: that takes about ten seconds. Its behaviour is described as of sleap-nn 0.3.5.
"""
