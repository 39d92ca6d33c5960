"""Engines run payloads: `registry` lists them, `load` loads them, and `base` is the protocol that each module here keeps."""
