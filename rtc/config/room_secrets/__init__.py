"""Where room secrets come from on this machine, what one may look like, and the file that keeps those made here."""
