"""Actor-critics that see a latent task variable beside the observation."""
