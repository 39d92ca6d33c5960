"""Rewriting float graphs (torch.fx) so that INT8 kernels compute them fast and with little loss; none changes a result."""
