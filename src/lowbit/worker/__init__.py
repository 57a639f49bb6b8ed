"""The child process: one job in, one result out. What needs two siblings is composed here."""
