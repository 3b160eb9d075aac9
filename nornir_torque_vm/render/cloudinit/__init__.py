"""What a guest's cloud-init is told: the NoCloud seed, from one model for all families of systems."""
