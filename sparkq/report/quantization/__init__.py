"""The report of a quantization: what was tried, how much noise each layer adds, ranges of weights and inputs."""
