"""Formats that are only read: a module for each tool or data set, as `formats.READERS` lists."""
