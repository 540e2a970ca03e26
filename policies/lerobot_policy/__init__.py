"""LeRobot's diffusion and flow policies as frozen decoders that DSRL steers by their noise (extra `lerobot`)."""
