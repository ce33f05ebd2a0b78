"""PPO with a critic: pure numerics, the roles on one base, and the trainer."""
