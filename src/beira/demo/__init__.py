"""The demonstration: a cloud, its portal and three nodes on this machine, with a plug to pull on each."""
