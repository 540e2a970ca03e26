"""The WidowX 250S over ROS 2: node, link and messages of the Interbotix XS driver.

Runs on Python 3.10 too, the Python of ROS 2 Humble. `rclpy` is loaded by the modules that need it only.
"""
