"""From names in the configuration to the roles; models that play several roles are loaded once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reward_models.augment.config import REWARD_MODEL, AugmentConfig
from reward_models.augment.grammar import SceneGrammar
from reward_models.augment.models import AnswerCache, CachedModel, ChatModel
from reward_models.augment.pipeline import Roles
from reward_models.augment.roles import Describer, Planner, Proposer, Verifier
from reward_models.augment.standardise import standardise
from reward_models.augment.state_roles import AcceptAll, SimulatorState
from reward_models.data.truth import read_truths


@dataclass
class RoleMaker:
    """Makes the roles of a configuration.

    Attributes:
        config: The configuration.
        load: Loads a model by name.
        cache: Keeps its answers.
    """

    config: AugmentConfig
    load: Callable[[str], ChatModel]
    cache: AnswerCache
    _models: dict[str, ChatModel] = field(default_factory=dict)
    _state: SimulatorState | None = None

    def roles(self) -> Roles:
        """Make all roles.

        Raises:
            UnknownName, InvalidSetting, RewardModelUnavailable, InvalidSource: See who makes them.
        """
        names = self.config.roles
        return Roles(
            standardise=self._standardiser(names.standardiser),
            describer=self._describer(names.describer),
            planner=self._planner(names.planner),
            proposer=self._proposer(names.proposer),
            verifier=self._verifier(names.verifier),
            verified_by=names.verifier,
        )

    def close(self) -> None:
        """Close the models that were loaded."""
        for model in self._models.values():
            model.close()

    def _standardiser(self, name: str) -> Callable[[str], str]:
        if name == "code":
            return standardise
        from reward_models.augment.model_roles import ModelStandardiser

        model = ModelStandardiser(self._model(name))
        return lambda task: model.standardise(standardise(task))

    def _describer(self, name: str) -> Describer:
        from reward_models.augment.model_roles import ModelDescriber

        return self._simulator() if name == "simulator" else ModelDescriber(self._model(name))

    def _planner(self, name: str) -> Planner:
        from reward_models.augment.model_roles import ModelPlanner

        return SceneGrammar() if name == "grammar" else ModelPlanner(self._model(name))

    def _proposer(self, name: str) -> Proposer:
        from reward_models.augment.model_roles import ModelProposer

        return SceneGrammar() if name == "grammar" else ModelProposer(self._model(name))

    def _verifier(self, name: str) -> Verifier:
        from reward_models.augment.model_roles import ModelVerifier, ScoreVerifier

        if name == "simulator":
            return self._simulator()
        if name == "accept":
            return AcceptAll()
        if name.startswith(REWARD_MODEL):
            from roboreward_gym.registry import load_reward_model

            return ScoreVerifier(load_reward_model(name.removeprefix(REWARD_MODEL)))
        return ModelVerifier(self._model(name))

    def _simulator(self) -> SimulatorState:
        if self._state is None:
            folder = self.config.truth or Path(self.config.source.partition(":")[2])
            self._state = SimulatorState(read_truths(folder))
        return self._state

    def _model(self, name: str) -> ChatModel:
        if name not in self._models:
            self._models[name] = CachedModel(self.load(name), self.cache)
        return self._models[name]
