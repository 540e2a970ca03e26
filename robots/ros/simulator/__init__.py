"""A simulated XS driver over ROS 2, with faults on request, and what only its clients need."""
