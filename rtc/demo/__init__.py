"""`sleap-rtc demo`: server, worker and client on this machine, with a small data set that the demo draws."""
