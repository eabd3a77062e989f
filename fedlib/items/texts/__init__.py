"""What reads the texts of items."""
