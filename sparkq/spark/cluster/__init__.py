"""The cluster at hand: executors, their CPUs and engines, the size of a worker, how the artifact reaches them."""
