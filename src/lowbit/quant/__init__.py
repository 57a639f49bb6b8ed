"""The engine: number formats, the plan, calibrated ranges, and rounding of weights."""
