"""Quantized programs as data: what they are, which operators they may hold, how they are stored, and what they mean.

Nothing here needs torch. `types` has the graph, `operators` the closed list of operators, `validate` refuses everything else,
`storage` turns a program into bytes and back, and `interpreter` computes what it means, slowly and exactly.
"""
