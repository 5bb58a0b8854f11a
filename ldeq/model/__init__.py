"""The network: blocks, the deep equilibrium layer and its gradients, and the published checkpoint format."""
