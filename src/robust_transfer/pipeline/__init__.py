"""From a configuration to finished stages: what is known before, the plan, its checks, its cost, its run."""
