"""DSRL: fine-tune a frozen diffusion policy by the noise that it starts from."""
