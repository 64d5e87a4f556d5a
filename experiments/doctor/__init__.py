"""The command `doctor`: whether this machine, or a cluster, can do a search, before it starts."""
