"""Processes on this machine: a child, one that is restarted, several APIs, a running instance."""
