"""A WidowX behind an Interbotix XS driver, without ROS: what is sent when, and what stops the arm."""
