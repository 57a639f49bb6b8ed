"""Documents that others published, as study files that `lowbit run` carries out."""
