"""Integer-only arithmetic: the judge of what the engine writes. It reads files and knows nothing of the engine."""
