"""Setting up a real arm: what the checks find, what they write, and that runs require it."""

import dataclasses
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import mujoco
import numpy as np
import pytest

from robots.catalogue import TASKS, TaskEntry
from robots.check import __main__ as program
from robots.check import checks
from robots.check.checks import Bench
from robots.check.page import live_page
from robots.check.picture import TrainingView, card_colour, red_or_blue, side_by_side
from robots.errors import CameraError, MotionRefused
from robots.safety import SafetyLimits
from robots.sim.mujoco_arm import MujocoArm
from robots.sim.tasks import look
from robots.xs.arm import XsArm
from robots.xs.interface import SLEEP_JOINTS
from robots.xs.operator import Operator
from robots.xs.setup import CHECKS, VIEW, ArmSetup, Finding
from tests.fakes_xs import FakeDriver

SIZE = (48, 64)
GOOD = tuple(Finding(check, passed=True, found="fine.") for check in CHECKS)


class Person:
    """Answers by what a question contains."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        self.answers: dict[str, str] = {}
        self.acts: dict[str, Callable[[], None]] = {}
        self.questions: list[str] = []
        self.heights: list[np.ndarray] = []

    def pressed(self) -> str:
        return ""

    def ask(self, question: str) -> str:
        self.questions.append(question)
        for words, act in self.acts.items():
            if words in question:
                act()
        return next((a for words, a in self.answers.items() if words in question), "")


@pytest.fixture(scope="module")
def view() -> Iterator[TrainingView]:
    view = TrainingView("toy", SIZE)
    yield view
    view.close()


def bench(view: TrainingView, *, person: bool = True) -> tuple[Bench, Person, FakeDriver]:
    driver = FakeDriver()
    someone = Person(driver)
    operator = Operator(someone) if person else None
    arm = XsArm(driver, image_size=SIZE, timer=driver, watched=True, operator=operator)
    someone.acts["Hold something red"] = lambda: setattr(driver, "picture", "red card")
    return Bench(arm, operator, SafetyLimits(), driver, view), someone, driver


def found(bench: Bench, only: tuple[str, ...] = CHECKS) -> dict[str, Finding]:
    return {f.check: f for f in program.check(bench, only, say=lambda _: None)[0]}


def test_an_arm_in_order_passes_every_check_and_sleeps_at_the_end(view: TrainingView) -> None:
    desk, person, driver = bench(view)
    findings = found(desk)
    assert {name: f.passed for name, f in findings.items()} == dict.fromkeys(CHECKS, True)
    assert "100 a second" in findings["joint states"].found
    assert "is free" in findings["workspace"].found
    assert sum("Corner" in question for question in person.questions) >= 2
    desk.arm.close()
    np.testing.assert_allclose(driver.position, SLEEP_JOINTS, atol=0.02)


def test_the_first_four_checks_move_nothing(view: TrainingView) -> None:
    desk, _, driver = bench(view)
    found(desk, CHECKS[:4])
    desk.arm.close()
    assert (driver.set_points, driver.gripper_angles, driver.log) == ([], [], [])


@pytest.mark.parametrize(
    ("hurt", "check", "said"),
    [
        (lambda d, p: setattr(d, "bus_errors", 10**6), "joint states", "rejected"),
        (lambda d, p: setattr(d, "camera_every", 40), "camera", "fastdds.xml"),
        (lambda d, p: setattr(d, "camera_on", False), "camera", "No images"),
        (lambda d, p: p.answers.update({"green outline": "n"}), "view", "does not fit"),
        (lambda d, p: p.acts.clear(), "colours", "nothing came into the picture"),
        (lambda d, p: setattr(d, "encoding", "bgr8"), "colours", "labels bgr8 as rgb8"),
        (lambda d, p: setattr(d, "obstacle_m", 0.03), "gripper", "Is something between them"),
        (lambda d, p: setattr(d, "gripper_limp", True), "gripper", "does not follow"),
        (lambda d, p: p.answers.update({"Corner": "n"}), "workspace", "touch something"),
        (lambda d, p: p.answers.update({"Corner": "40"}), "workspace", "mm lower"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(
    view: TrainingView, hurt: Callable[[FakeDriver, Person], None], check: str, said: str
) -> None:
    desk, person, driver = bench(view)
    driver.run(0.1)
    hurt(driver, person)
    finding = found(desk, (check,))[check]
    assert not finding.passed
    assert said in finding.found


def test_a_table_that_is_higher_than_the_base_is_found_with_what_to_set(view: TrainingView) -> None:
    desk, person, _ = bench(view)
    desk = dataclasses.replace(desk, limits=SafetyLimits(box_low=np.array([0.1, -0.25, 0.05])))
    person.answers["Corner"] = "10"
    finding = found(desk, ("workspace",))["workspace"]
    assert not finding.passed
    assert "the table is 21 mm higher" in finding.found
    assert "set table_m in --limits to 0.02" in finding.found


def test_corners_out_of_reach_are_tried_as_near_as_the_arm_comes(view: TrainingView) -> None:
    limits = SafetyLimits()
    far = checks.corners(limits)[2]
    assert checks.poses_of(far, limits) is None
    place, poses = checks.reachable(far, limits)
    assert np.linalg.norm(far - place) < 0.15
    assert len(poses) == 2


def test_a_corner_that_the_arm_pushes_against_is_found_and_it_holds(view: TrainingView) -> None:
    desk, person, driver = bench(view)
    person.acts["Corner"] = lambda: setattr(driver, "effort_ma", np.full(9, 3000.0))
    finding = found(desk, ("workspace",))["workspace"]
    assert finding.passed is False
    assert "may draw at most" in finding.found


def test_a_distance_that_is_none_is_asked_again(view: TrainingView) -> None:
    desk, person, _ = bench(view)
    answers = iter(["wide", ""] + [""] * 9)
    person.ask = lambda question: person.questions.append(question) or next(answers)
    assert found(desk, ("workspace",))["workspace"].passed
    assert "'wide' is not a distance" in person.questions[1]


def test_without_a_keyboard_what_needs_a_person_is_not_looked_at(view: TrainingView) -> None:
    desk, _, _ = bench(view, person=False)
    findings = found(desk)
    passed = {name: f.passed for name, f in findings.items()}
    assert passed == {
        "joint states": True, "camera": True, "view": None, "colours": None, "gripper": True,
        "workspace": None,
    }  # fmt: skip
    assert "not a terminal" in findings["view"].found


def test_the_lowest_corners_of_the_workspace_keep_the_fingers_off_the_table() -> None:
    limits = SafetyLimits(box_low=np.array([0.15, -0.2, 0.0]), table_m=0.01)
    places = checks.corners(limits)
    xy = {tuple(place[:2].round(6).tolist()) for place in places}
    assert xy == {(0.151, -0.199), (0.151, 0.249), (0.449, 0.249), (0.449, -0.199)}
    for place in places:
        gap = checks.safety.lowest_finger(place, checks.GRIPPER_DOWN)
        assert gap == pytest.approx(0.01, abs=1e-9)


# --- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", TASKS, ids=lambda entry: entry.scene)
def test_the_training_view_is_from_the_middle_of_the_cameras_of_training(entry: TaskEntry) -> None:
    places = np.array([[0.0, 0.0, 0.1], [0.3, 0.0, 0.0], [0.25, 0.1, 0.0], [0.35, -0.15, 0.0]])

    def seen(arm: MujocoArm) -> np.ndarray:
        mujoco.mj_forward(arm.model, arm.data)
        return arm.project(places)

    shown = seen(MujocoArm(entry.scene))
    trained = MujocoArm(entry.scene)
    scene = entry.load_scene()(trained)
    cameras = []
    for seed in range(12):
        scene.reset(np.random.default_rng(seed), entry.task, "train")
        cameras.append(seen(trained))
    np.testing.assert_allclose(shown, np.mean(cameras, axis=0), atol=0.02)
    model, before = trained.model, MujocoArm(entry.scene).model
    look.look_at(model, model.camera("front").id, look.CAMERA_FROM, look.CAMERA_TO)
    np.testing.assert_allclose(before.cam_pos, model.cam_pos, atol=1e-9)
    np.testing.assert_allclose(before.cam_quat, model.cam_quat, atol=1e-6)
    assert before.camera("front").fovy[0] == look.FOVY_DEG


def test_the_outlines_of_the_training_view_lie_over_the_picture(view: TrainingView) -> None:
    live = np.full((*SIZE, 3), 90, np.uint8)
    training = view.render(np.zeros(6), 1.0)
    picture = side_by_side(live, training)
    left, middle, right = np.split(picture, 3, axis=1)
    np.testing.assert_array_equal(left, live)
    np.testing.assert_array_equal(middle, training)
    green = (right == (0, 255, 0)).all(axis=2)
    assert 0.02 < green.mean() < 0.5
    np.testing.assert_array_equal(right[~green], live[~green])


@pytest.mark.parametrize(
    ("colour", "name"), [((200, 30, 30), "red"), ((30, 40, 190), "blue"), ((90, 90, 90), "neither")]
)
def test_a_card_is_found_by_what_it_changes(colour: tuple[int, ...], name: str) -> None:
    before = np.full((*SIZE, 3), 120, np.uint8)
    after = before.copy()
    after[10:20, 10:30] = colour
    seen = card_colour(before, after)
    assert seen is not None
    np.testing.assert_allclose(seen, colour)
    assert red_or_blue(seen) == name
    assert card_colour(before, before + np.uint8(5)) is None


def test_the_live_page_shows_pictures_and_says_when_there_are_none() -> None:
    pictures = iter([np.full((*SIZE, 3), 200, np.uint8)])

    def picture() -> np.ndarray:
        for image in pictures:
            return image
        raise CameraError("There is no image yet.")

    with live_page(picture, 0) as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address) as answer:
            assert b"live.jpg" in answer.read()
        with urllib.request.urlopen(f"{address}live.jpg?1") as answer:
            assert cv2.imdecode(np.frombuffer(answer.read(), np.uint8), 1).shape == (*SIZE, 3)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{address}live.jpg")


# --- the file --------------------------------------------------------------------------------------


def write(folder: Path, findings: tuple[Finding, ...], **options: str) -> bool:
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    parsed = program.parse(["--i-am-watching", "--out", str(folder), *words])
    picture = np.zeros((48, 192, 3), np.uint8)
    picture[:, :64] = (250, 20, 20)
    return program.record(parsed, SafetyLimits(), list(findings), picture)


def test_a_set_up_that_has_passed_lets_a_run_begin(tmp_path: Path) -> None:
    assert write(tmp_path, GOOD)
    setup = ArmSetup.load(tmp_path)
    setup.require("wx250s", setup.camera_topic, SafetyLimits())
    image = cv2.imread(str(tmp_path / VIEW))
    assert image.shape == (48, 64, 3)
    assert image[0, 0].tolist() == [20, 20, 250]
    page = (tmp_path / program.PAGE).read_text()
    assert page.count("passed") == len(CHECKS)


def test_checks_can_be_done_one_by_one_and_those_of_before_count(tmp_path: Path) -> None:
    assert not write(tmp_path, GOOD[:4])
    with pytest.raises(MotionRefused, match=r"gripper: nobody has looked.*robots\.check"):
        ArmSetup.load(tmp_path).require(
            "wx250s", ArmSetup.load(tmp_path).camera_topic, SafetyLimits()
        )
    assert write(tmp_path, GOOD[4:])
    assert not write(tmp_path, (Finding("camera", passed=False, found="dark."),))
    assert not write(tmp_path, GOOD[:1], **{"robot-name": "other"})  # another arm begins anew


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"robot_name": "left"}, "set-up is of the robot wx250s, and this is left"),
        ({"camera_topic": "/top"}, "and this is /top"),
        ({"limits": SafetyLimits(box_low=np.array([0.05, -0.25, 0.022]))}, "larger than the one"),
        ({"limits": SafetyLimits(table_m=-0.01)}, "larger than the one"),
    ],
)
def test_another_arm_camera_or_a_larger_workspace_is_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    write(tmp_path, GOOD)
    setup = ArmSetup.load(tmp_path)
    asked = {"robot_name": "wx250s", "camera_topic": setup.camera_topic, "limits": SafetyLimits()}
    with pytest.raises(MotionRefused, match=said):
        setup.require(**{**asked, **change})  # ty: ignore
    smaller = SafetyLimits(box_low=np.array([0.2, -0.1, 0.05]), table_m=0.01)
    setup.require("wx250s", setup.camera_topic, smaller)


def test_a_set_up_of_a_simulated_driver_does_not_count_for_a_real_arm(tmp_path: Path) -> None:
    parsed = program.parse(["--out", str(tmp_path)])
    program.record(parsed, SafetyLimits(), list(GOOD), None)
    setup = ArmSetup.load(tmp_path)
    with pytest.raises(MotionRefused, match="simulated driver"):
        setup.require(setup.robot_name, setup.camera_topic, SafetyLimits())


@pytest.mark.parametrize("content", [None, "{", "[]", '{"robot_name": "wx250s"}'])
def test_a_file_that_is_none_is_refused_with_the_command(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "setup.json").write_text(content)
    with pytest.raises(MotionRefused, match=r"setup\.json.*python -m robots\.check"):
        ArmSetup.load(tmp_path)
