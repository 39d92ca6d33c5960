"""From a program to a model of OpenVINO, node by node: no torch in the process, and no converter."""
