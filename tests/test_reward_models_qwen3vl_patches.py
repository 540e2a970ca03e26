import pytest
import torch

from reward_models.nano.model import build_config, build_model
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.qwen3vl.patches import project_patches
from tests.tiny_vlm import TINY, enliven


@pytest.mark.parametrize(
    "grid",
    [[[4, 4, 6]], [[2, 4, 6], [3, 4, 6]], [[2, 4, 6], [1, 2, 4]]],
    ids=["one", "equal", "mixed"],
)
def test_output_equals_the_original_tower(grid: list[list[int]]) -> None:
    model = build_model(build_config(TINY, build_tokenizer(["put"])), seed=0)
    enliven(model)
    visual, sizes = model.model.visual.eval(), torch.tensor(grid)
    pixels = torch.randn(int(sizes.prod(1).sum()), 3 * 2 * 16 * 16)
    with torch.inference_mode():
        before = visual(pixels, grid_thw=sizes).pooler_output
        after = project_patches(visual)(pixels, grid_thw=sizes).pooler_output
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert before.std() > 0.01


def test_checkpoint_names_stay_the_same() -> None:
    model = build_model(build_config(TINY, build_tokenizer(["put"])), seed=0)
    before = set(model.state_dict())
    project_patches(project_patches(model.model.visual))
    assert set(model.state_dict()) == before
