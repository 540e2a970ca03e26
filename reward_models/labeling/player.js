// Keys that move the video; those that rate are handled by the server.
(() => {
  let speed = 1;
  const video = () => document.querySelector("video");

  function setSpeed(wanted) {
    speed = wanted;
    const player = video();
    if (player) player.playbackRate = speed;
    document.querySelectorAll("[data-speed]").forEach((button) =>
      button.setAttribute("aria-pressed", String(Number(button.dataset.speed) === speed)));
  }
  window.setSpeed = setSpeed;

  function step(player, frames) {
    player.pause();
    const last = Math.max(0, player.duration - 0.5 / Number(player.dataset.fps));
    player.currentTime = Math.min(last, Math.max(0, player.currentTime + frames / Number(player.dataset.fps)));
  }

  const actions = {
    " ": (player) => (player.paused ? player.play() : player.pause()),
    ArrowLeft: (player) => step(player, -1),
    ArrowRight: (player) => step(player, 1),
    r: (player) => { player.currentTime = 0; player.play(); },
    R: (player) => actions.r(player),
    "-": () => setSpeed(speed > 1 ? 1 : 0.5),
    "+": () => setSpeed(speed < 1 ? 1 : 2),
    "=": () => actions["+"](),
  };

  document.addEventListener("keydown", (event) => {
    const player = video();
    if (!player || event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key](player);
  }, true);
  // A new video starts at the speed that was chosen.
  document.addEventListener("loadeddata", (event) => {
    if (event.target.tagName === "VIDEO") setSpeed(speed);
  }, true);
})();
