"""The files of uploads: read, convert, check, store, sign links. Reading runs in a process of its own."""
