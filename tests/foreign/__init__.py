"""Clients and checkers that nobody here wrote, over real HTTP against the running service with the demo bundle."""
