"""The four commands: the only part that knows Hydra and OmegaConf."""
