"""Data that reward models are trained and measured on, one module per source."""
