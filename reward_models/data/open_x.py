"""What RoboReward's Open X-Embodiment sets do not say in any file: frame rate, main camera, order of the colours.

The frame rate equals the control rate. `camera` is the fixed outside view where there is one; which of several views
RoboReward took is not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class OpenXSet:
    """One data set.

    Attributes:
        hz: Frames per second, in [Hz].
        camera: Key of the outside view in the observation; the only view where there is no other.
        bgr: Whether red and blue are exchanged in the pictures.
    """

    hz: float
    camera: str
    bgr: bool = False


_RLDS = "_converted_externally_to_rlds"
SETS: Mapping[str, OpenXSet] = {
    "bridge": OpenXSet(5, "image"),
    "bridge_dataset": OpenXSet(5, "image_0"),
    "bridge_orig": OpenXSet(5, "image_0"),
    "fractal20220817_data": OpenXSet(3, "image"),
    "berkeley_autolab_ur5": OpenXSet(5, "image"),
    "taco_play": OpenXSet(15, "rgb_static"),
    "jaco_play": OpenXSet(10, "image"),
    "viola": OpenXSet(20, "agentview_rgb"),
    "toto": OpenXSet(30, "image"),
    f"austin_sirius_dataset{_RLDS}": OpenXSet(20, "image"),
    f"austin_buds_dataset{_RLDS}": OpenXSet(20, "image"),
    "berkeley_fanuc_manipulation": OpenXSet(10, "image"),
    f"berkeley_mvp{_RLDS}": OpenXSet(5, "hand_image"),
    f"berkeley_rpt{_RLDS}": OpenXSet(30, "hand_image"),
    "cmu_play_fusion": OpenXSet(5, "image"),
    f"dlr_edan_shared_control{_RLDS}": OpenXSet(5, "image"),
    "droid": OpenXSet(15, "exterior_image_1_left"),
    f"iamlab_cmu_pickup_insert{_RLDS}": OpenXSet(20, "image"),
    f"kaist_nonprehensile{_RLDS}": OpenXSet(10, "image"),
    "nyu_door_opening_surprising_effectiveness": OpenXSet(3, "image"),
    f"nyu_rot_dataset{_RLDS}": OpenXSet(3, "image", bgr=True),
    "roboturk": OpenXSet(10, "front_rgb"),
    f"stanford_hydra_dataset{_RLDS}": OpenXSet(10, "image"),
    f"tokyo_u_lsmo{_RLDS}": OpenXSet(10, "image"),
    f"ucsd_kitchen_dataset{_RLDS}": OpenXSet(2, "image"),
    f"ucsd_pick_and_place_dataset{_RLDS}": OpenXSet(3, "image"),
    f"utokyo_pr2_opening_fridge{_RLDS}": OpenXSet(10, "image"),
    f"utokyo_pr2_tabletop_manipulation{_RLDS}": OpenXSet(10, "image"),
    f"utokyo_xarm_bimanual{_RLDS}": OpenXSet(10, "image"),
    f"utokyo_xarm_pick_and_place{_RLDS}": OpenXSet(10, "image"),
}
"""The 28 sets by the name in their `dataset_info.json`, and BridgeData's newer build under both of its names."""

TASK_KEYS = (
    "language_instruction",
    "language_instruction_2",
    "language_instruction_3",
    "observation/natural_language_instruction",
    "observation/instruction",
)
"""Where a step may say its task, in the order in which they are looked at; any may be empty."""
