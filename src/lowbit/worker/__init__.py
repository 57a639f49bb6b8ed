"""The child process: it reads one job and writes one result. Each kind of job has its own module."""
