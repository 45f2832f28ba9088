"""Foreign data to canonical events."""
