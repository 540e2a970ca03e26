"""What every reward model is asked, and how its reply is read: prompt, frames, tokens, parsers."""
