"""From a program to a model of OpenVINO, node by node: no torch in the process, no converter that has to be talked into it."""
