"""The command line. It may call every package, and imports each only inside the command that needs it."""
