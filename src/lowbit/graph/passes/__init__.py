"""Rewrites of the float graph, one a file: each says what it requires and what it ensures."""
