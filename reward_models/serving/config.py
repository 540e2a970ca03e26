"""Settings of `roboreward serve`, the token of its clients, and its port."""

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import tyro

from reward_models.model_options import ModelOptions
from reward_models.net.addresses import is_loopback
from reward_models.net.credentials import TOKEN_VARIABLE, check_key, find_key
from roboreward_gym.errors import InvalidSetting


@dataclass(frozen=True)
class ServeConfig:
    """What to serve, to whom, and how much of it."""

    model: str = ""
    """Name of a reward model, as `load_reward_model` takes it; without it the error lists them and for whom each is."""
    options: tyro.conf.OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)
    """How a local model is loaded."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than this machine's own needs a token."""
    port: int = 8321
    """Port; 0 for any free one."""
    token_file: Path | None = None
    """File with the token that clients must send; otherwise `ROBOREWARD_TOKEN`, if set."""
    window_ms: float = 5.0
    """How long to wait for more clips after the first one, in [ms]."""
    max_batch: int = 16
    """Most clips in one call of the model, unless one request has more."""
    forward_batch: int = 1
    """Most clips in one forward pass of a local model. 1 gives the bit-exact scores of `score([clip])` in
    process; more is faster on a GPU and moves the last bits."""
    max_waiting: int = 256
    """Most clips that wait or are being scored; above, clients are asked to come back."""
    max_waiting_mib: float = 1024.0
    """Most memory in [MiB] of requests that arrive, wait or are being scored; above, clients are asked to
    come back."""
    max_mib: float = 64.0
    """Largest request in [MiB], and most pixels in it."""
    body_timeout_s: float = 30.0
    """Longest time to receive one request in [s]."""
    shutdown_s: float = 30.0
    """Longest time for requests under way after SIGTERM in [s]."""
    max_connections: int = 256
    """Most connections at a time."""

    def __post_init__(self) -> None:
        if not (self.max_mib > 0 and self.body_timeout_s > 0 and self.shutdown_s >= 0):
            raise InvalidSetting(
                "max_mib and body_timeout_s must be above 0, and shutdown_s at least 0."
            )
        if self.max_waiting_mib < self.max_mib:
            raise InvalidSetting(
                f"Requests of up to {self.max_mib} MiB do not fit into {self.max_waiting_mib} MiB: raise "
                "max_waiting_mib, or lower max_mib."
            )
        if not 0 <= self.port <= 65535 or self.forward_batch < 1 or self.max_connections < 1:
            raise InvalidSetting(
                "port must be in 0..65535, forward_batch and max_connections at least 1, got "
                f"{self.port}, {self.forward_batch} and {self.max_connections}."
            )

    @property
    def max_bytes(self) -> int:
        """Largest request in bytes."""
        return int(self.max_mib * (1 << 20))


class Listening(Protocol):
    """The settings of a program that listens on an address."""

    @property
    def host(self) -> str:
        """Address to listen on."""
        ...

    @property
    def port(self) -> int:
        """Port; 0 for any free one."""
        ...

    @property
    def token_file(self) -> Path | None:
        """File with the token that clients must send."""
        ...


def read_token(config: Listening) -> str | None:
    """Return the token of the server, from its file or the environment.

    Raises:
        InvalidSetting: The file cannot be read or is empty, or others than this machine could ask
            without a token.
    """
    token = find_key(TOKEN_VARIABLE)
    if config.token_file is not None:
        try:
            token = check_key(
                config.token_file.read_text(encoding="utf-8").strip(), "the token file"
            )
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSetting(
                f"The token in {config.token_file} cannot be read: {error}."
            ) from error
        if not token:
            raise InvalidSetting(f"{config.token_file} is empty. Write the token into it.")
    if token is None and not is_loopback(config.host):
        raise InvalidSetting(
            f"{config.host} can be reached from other machines, so the server needs a token. "
            f"Run: export {TOKEN_VARIABLE}=$(openssl rand -hex 32)"
        )
    return token


def bind(config: Listening) -> socket.socket:
    """Take the port; nobody can connect yet.

    Raises:
        InvalidSetting: It is taken, or not ours to open.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        raise InvalidSetting(
            f"Cannot listen on {config.host}:{config.port}: {error}. "
            "Choose another --port, or 0 for any free one."
        ) from error
    return listener
