"""Which cells a study has, how they are run and kept, and which one wins."""
