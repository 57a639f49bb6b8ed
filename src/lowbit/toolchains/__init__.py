"""One file a vendor: INFO and build. Found by file name and by the entry points `lowbit.toolchains`."""
