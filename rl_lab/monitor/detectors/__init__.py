"""The detectors: one file each, found by looking into this folder.

A file holds one class with `name` and `observe(seen) -> list[Finding]`, called once after every update.
"""
