"""Sync at work: the agent (a node's half), the gate (the cloud's half), and the links between them.

What is said and when is decided in `kernel.node_session`, `kernel.gate_session` and `kernel.policy`;
here it is carried out.
"""
