"""How one trial is trained: network, stages, protocol, store and bundle. No Ray, no Optuna."""
