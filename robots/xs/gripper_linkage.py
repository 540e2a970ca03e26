"""The WidowX gripper: a horn turns, and a link from it pushes each finger along its rail."""

import math

HORN_M = 0.014  # radius of the horn, vendor
LINK_M = 0.024  # length of the link, vendor


def finger_from_angle(angle: float) -> float:
    """Distance [m] from the centre to one finger for an angle [rad] of the gripper's servo."""
    return HORN_M * math.sin(angle) + math.sqrt(LINK_M**2 - (HORN_M * math.cos(angle)) ** 2)


def angle_from_finger(finger_m: float) -> float:
    """Inverse of `finger_from_angle`; a finger beyond the horn's reach gives the nearest angle."""
    sine = (finger_m**2 + HORN_M**2 - LINK_M**2) / (2.0 * finger_m * HORN_M)
    return math.asin(min(1.0, max(-1.0, sine)))


def finger_speed(angle: float, angular_speed: float) -> float:
    """Speed of one finger [m/s] for a speed of the servo [rad/s]."""
    cosine = math.cos(angle)
    slope = HORN_M * cosine + HORN_M**2 * cosine * math.sin(angle) / math.sqrt(
        LINK_M**2 - (HORN_M * cosine) ** 2
    )
    return slope * angular_speed
