"""A study: many runs of named experiments as one program that can be stopped, and the tables made of them."""
