"""The types that cross rooms, errors and digests. Nothing here knows a vendor or touches a model."""
