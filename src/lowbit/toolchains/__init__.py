"""One module per vendor, with INFO and build. Found by file name and by the entry points `lowbit.toolchains`."""
