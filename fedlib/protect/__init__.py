"""What may leave a device: secure aggregation, differential privacy, and noise."""
