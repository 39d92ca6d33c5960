"""From stored bytes to the pixels that a network takes: read, decode, resize, normalize. Runs in Python workers."""
