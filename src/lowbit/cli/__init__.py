"""The command line: parse, one call, print, exit status. One file a command."""
