"""The engine: formats, ranges, the plan, rounding, and integer-only arithmetic, its specification."""
