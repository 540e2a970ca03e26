"""The vendor's name."""
