"""What two splits of a data set share, and must not."""

from collections import defaultdict
from collections.abc import Sequence

from reward_models.data.splits import Membership


def leaks(members: Sequence[Membership], splits: Sequence[str]) -> list[str]:
    """Name every source episode and every video that lies in more than one split."""
    seen: dict[str, set[str]] = defaultdict(set)
    for member, split in zip(members, splits, strict=True):
        seen[f"episode {member.subset}/{member.source_episode}"].add(split)
        seen[f"video {member.video_sha256}"].add(split)
    return [
        f"{name} in {', '.join(sorted(where))}" for name, where in seen.items() if len(where) > 1
    ]
