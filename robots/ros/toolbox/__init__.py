"""The API of the vendor's Python toolbox over our own connection and kinematics."""
