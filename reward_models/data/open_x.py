"""What is known of the Open X-Embodiment sets that RoboReward used and that no file of theirs says: rates, views, quirks.

The frame rate equals the control rate. `camera` is the fixed outside view where there is one; which of several views
RoboReward took is not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass

STEP = "language_instruction"
OBSERVATION = "observation/natural_language_instruction"


@dataclass(frozen=True)
class OpenXSet:
    """One data set.

    Attributes:
        hz: Frames per second, in [Hz].
        camera: Key of the outside view in the observation; the only view where there is no other.
        wrist: Key of the view from the gripper.
        task: Key of the task in a step.
        vague_task: Whether tasks say too little to be asked about, as octo's authors found.
        bgr: Whether red and blue are exchanged in the pictures.
        outcome: Where an episode says whether it succeeded, if it does.
        in_test: Whether RoboReward's test split has examples of it.
    """

    hz: float
    camera: str
    wrist: str | None = None
    task: str = STEP
    vague_task: bool = False
    bgr: bool = False
    outcome: str | None = None
    in_test: bool = True


_RLDS = "_converted_externally_to_rlds"
SETS: Mapping[str, OpenXSet] = {
    "bridge": OpenXSet(5, "image", task=OBSERVATION),
    "bridge_dataset": OpenXSet(5, "image_0", "image_3", in_test=False),
    "bridge_orig": OpenXSet(5, "image_0", "image_3", in_test=False),
    "fractal20220817_data": OpenXSet(3, "image", task=OBSERVATION),
    "berkeley_autolab_ur5": OpenXSet(5, "image", "hand_image", task=OBSERVATION),
    "taco_play": OpenXSet(15, "rgb_static", "rgb_gripper", task=OBSERVATION),
    "jaco_play": OpenXSet(10, "image", "image_wrist", task=OBSERVATION),
    "viola": OpenXSet(20, "agentview_rgb", "eye_in_hand_rgb", task=OBSERVATION, vague_task=True),
    "toto": OpenXSet(30, "image", task=OBSERVATION, vague_task=True, in_test=False),
    f"austin_sirius_dataset{_RLDS}": OpenXSet(20, "image", "wrist_image", vague_task=True),
    f"austin_buds_dataset{_RLDS}": OpenXSet(
        20, "image", "wrist_image", vague_task=True, in_test=False
    ),
    "berkeley_fanuc_manipulation": OpenXSet(10, "image", "wrist_image"),
    f"berkeley_mvp{_RLDS}": OpenXSet(5, "hand_image", "hand_image"),
    f"berkeley_rpt{_RLDS}": OpenXSet(30, "hand_image", "hand_image"),
    "cmu_play_fusion": OpenXSet(5, "image"),
    f"dlr_edan_shared_control{_RLDS}": OpenXSet(5, "image"),
    "droid": OpenXSet(
        15, "exterior_image_1_left", "wrist_image_left", outcome="episode_metadata/file_path"
    ),
    f"iamlab_cmu_pickup_insert{_RLDS}": OpenXSet(20, "image", "wrist_image"),
    f"kaist_nonprehensile{_RLDS}": OpenXSet(10, "image"),
    "nyu_door_opening_surprising_effectiveness": OpenXSet(
        3, "image", "image", task=OBSERVATION, vague_task=True, in_test=False
    ),
    f"nyu_rot_dataset{_RLDS}": OpenXSet(3, "image", bgr=True, in_test=False),
    "roboturk": OpenXSet(10, "front_rgb", task=OBSERVATION, vague_task=True),
    f"stanford_hydra_dataset{_RLDS}": OpenXSet(10, "image", "wrist_image", vague_task=True),
    f"tokyo_u_lsmo{_RLDS}": OpenXSet(10, "image"),
    f"ucsd_kitchen_dataset{_RLDS}": OpenXSet(2, "image"),
    f"ucsd_pick_and_place_dataset{_RLDS}": OpenXSet(3, "image"),
    f"utokyo_pr2_opening_fridge{_RLDS}": OpenXSet(10, "image", in_test=False),
    f"utokyo_pr2_tabletop_manipulation{_RLDS}": OpenXSet(10, "image"),
    f"utokyo_xarm_bimanual{_RLDS}": OpenXSet(10, "image"),
    f"utokyo_xarm_pick_and_place{_RLDS}": OpenXSet(10, "image", "hand_image", in_test=False),
}
"""The 28 sets by the name in their `dataset_info.json`, and BridgeData's newer build under both of its names."""

TASK_KEYS = (
    STEP,
    "language_instruction_2",
    "language_instruction_3",
    OBSERVATION,
    "observation/instruction",
)
"""Where a step may say its task, in the order in which they are looked at; any may be empty."""
