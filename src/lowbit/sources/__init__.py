"""A user's model becomes a float graph: one file a kind of model, chosen by what its name looks like (`find.py`)."""
