"""An own small reward model for any environment that can say its own level: `python -m reward_models.nano.teach --help`."""
