"""Which configuration is tried next: the space, the samplers, the policy."""
