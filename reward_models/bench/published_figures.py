"""What others published about RoboRewardBench: for the page only, never mixed with what was measured here.

The overall errors are those of The Batch's summary and the authors' leaderboard (HELM, release of January 2026); those of the
subsets are RoboReward-8B's, from the paper's table (arXiv 2601.00675), as quoted by others. Check the paper before quoting them.
"""

ROWS = 2_831
"""Rows of the published test split."""

OVERALL = {
    "RoboReward-8B": 0.665,
    "GPT-5 mini": 0.691,
    "GPT-5": 0.811,
    "RoboReward-4B": 0.845,
    "Gemini 3 Pro": 0.851,
    "Gemini Robotics-ER 1.5": 0.906,
}
"""Macro MAE: the plain mean over 23 subsets, an unreadable answer counted as 4.0."""

ROBOREWARD_8B = {
    "austin_sirius_dataset_converted_externally_to_rlds": 0.701,
    "berkeley_autolab_ur5": 0.340,
    "berkeley_fanuc_manipulation": 0.538,
    "berkeley_mvp_converted_externally_to_rlds": 0.577,
    "berkeley_rpt_converted_externally_to_rlds": 0.674,
    "bridge": 0.770,
    "cmu_play_fusion": 0.587,
    "dlr_edan_shared_control_converted_externally_to_rlds": 0.474,
    "droid": 0.670,
    "fractal20220817_data": 0.830,
    "iamlab_cmu_pickup_insert_converted_externally_to_rlds": 0.807,
    "jaco_play": 0.720,
    "kaist_nonprehensile_converted_externally_to_rlds": 0.396,
    "robo_arena": 0.768,
    "roboturk": 0.485,
    "stanford_hydra_dataset_converted_externally_to_rlds": 0.890,
    "taco_play": 0.473,
    "tokyo_u_lsmo_converted_externally_to_rlds": 0.493,
    "ucsd_kitchen_dataset_converted_externally_to_rlds": 0.947,
    "ucsd_pick_and_place_dataset_converted_externally_to_rlds": 0.100,
    "utokyo_pr2_tabletop_manipulation_converted_externally_to_rlds": 0.452,
    "utokyo_xarm_bimanual_converted_externally_to_rlds": 1.394,
    "viola": 1.200,
}
"""MAE of RoboReward-8B by subset; their mean is its overall error."""
