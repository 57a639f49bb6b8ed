"""Carrying out jobs: in child processes of this machine, results kept as files."""
