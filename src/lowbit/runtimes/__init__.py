"""One module per runtime: INFO, warm_up, open_session. Found by file name and by the entry points `lowbit.runtimes`."""
