"""The sheet of images as the network gets them, with its answers."""
