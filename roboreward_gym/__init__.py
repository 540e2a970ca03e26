"""Video reward models for any Gymnasium environment. Needs numpy and gymnasium, nothing else."""

from roboreward_gym.episode import Episode as Episode
from roboreward_gym.errors import EpisodeFileError as EpisodeFileError
from roboreward_gym.errors import InvalidClip as InvalidClip
from roboreward_gym.errors import InvalidReward as InvalidReward
from roboreward_gym.errors import InvalidRewardModel as InvalidRewardModel
from roboreward_gym.errors import InvalidScore as InvalidScore
from roboreward_gym.errors import InvalidSetting as InvalidSetting
from roboreward_gym.errors import NoEpisode as NoEpisode
from roboreward_gym.errors import NoFrames as NoFrames
from roboreward_gym.errors import NotPortable as NotPortable
from roboreward_gym.errors import PartialScores as PartialScores
from roboreward_gym.errors import RewardModelFailure as RewardModelFailure
from roboreward_gym.errors import RewardModelUnavailable as RewardModelUnavailable
from roboreward_gym.errors import RoboRewardError as RoboRewardError
from roboreward_gym.errors import UnknownName as UnknownName
from roboreward_gym.errors import WeightsError as WeightsError
from roboreward_gym.frames import FrameSource as FrameSource
from roboreward_gym.recording import FrameCapture as FrameCapture
from roboreward_gym.registry import load_reward_model as load_reward_model
from roboreward_gym.registry import register_reward_model as register_reward_model
from roboreward_gym.registry import release_reward_model as release_reward_model
from roboreward_gym.registry import reward_model_names as reward_model_names
from roboreward_gym.rewards import RewardMap as RewardMap
from roboreward_gym.rewards import as_reward_map as as_reward_map
from roboreward_gym.types import LEVELS as LEVELS
from roboreward_gym.types import Clip as Clip
from roboreward_gym.types import FrameBuffer as FrameBuffer
from roboreward_gym.types import ProgressScore as ProgressScore
from roboreward_gym.types import RewardModel as RewardModel
from roboreward_gym.vector import VLMRewardVectorWrapper as VLMRewardVectorWrapper
from roboreward_gym.wrapper import VLMRewardWrapper as VLMRewardWrapper

__version__ = "0.1.0"
