"""What a person sees of a run: page, plots, strips, tables."""
