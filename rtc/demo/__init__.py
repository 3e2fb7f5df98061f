"""`sleap-rtc demo`: server, worker and client on this machine, with data of their own."""
