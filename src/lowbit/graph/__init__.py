"""The float graph: load and check it, clean it, import it to torch. Knows no toolchain and no runtime."""
