"""Requests for faults, and when each is on."""

import json

import pytest

from roboreward_gym.errors import InvalidSetting, UnknownName
from robots.ros.simulator.faults import KINDS, Fault, FaultSchedule, parse_fault


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_asked_for_by_its_name(kind: str) -> None:
    assert parse_fault(json.dumps({"kind": kind})) == Fault(kind)


def test_nothing_ends_every_fault() -> None:
    assert parse_fault("{}") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"delay_s": 1}',
        '{"kind": "late_joint_states", "delay_s": "1"}',
        '{"kind": "late_joint_states", "delay_s": true}',
        '{"kind": "late_joint_states", "delay_s": -1}',
        '{"kind": "clock_jump", "offset_s": NaN}',
        '{"kind": "lost_messages", "probability": 1.5}',
    ],
)
def test_values_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(InvalidSetting):
        parse_fault(text)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ('{"kind": "frozen_cam"}', "frozen_camera"),
        ('{"kind": "lost_messages", "stream": "image"}', "images"),
        ('{"kind": "servo_error", "joint": "sholder"}', "shoulder"),
        ('{"kind": "clock_jump", "offset": 1}', "offset_s"),
    ],
)
def test_a_misspelt_name_suggests_the_right_one(text: str, suggestion: str) -> None:
    with pytest.raises(UnknownName, match=suggestion):
        parse_fault(text)


def test_the_clock_may_jump_back() -> None:
    fault = parse_fault('{"kind": "clock_jump", "offset_s": -5}')
    assert fault is not None
    assert fault.offset_s == -5


def test_a_fault_begins_and_ends() -> None:
    schedule = FaultSchedule()
    fault = Fault("nan_joints", after_s=1.0, for_s=2.0)
    schedule.add(fault, now=10.0)
    on = [schedule.active("nan_joints", now) for now in (10.9, 11.0, 12.9, 13.0)]
    assert on == [None, fault, fault, None]


def test_a_fault_without_an_end_stays_until_cleared() -> None:
    schedule = FaultSchedule()
    schedule.add(Fault("nan_joints"), now=0.0)
    assert schedule.active("nan_joints", 1e9)
    schedule.clear()
    assert schedule.active("nan_joints", 1e9) is None


def test_one_kind_is_not_another() -> None:
    schedule = FaultSchedule()
    schedule.add(Fault("nan_joints"), now=0.0)
    assert schedule.active("clock_jump", 1.0) is None


def test_the_newest_fault_of_a_kind_counts() -> None:
    schedule = FaultSchedule()
    for delay in (0.1, 0.9):
        schedule.add(Fault("late_joint_states", delay_s=delay), now=0.0)
    active = schedule.active("late_joint_states", 1.0)
    assert active is not None
    assert active.delay_s == 0.9


def test_messages_are_lost_with_the_asked_probability_and_by_seed() -> None:
    lost = []
    for _ in range(2):
        schedule = FaultSchedule(seed=3)
        schedule.add(Fault("lost_messages", probability=0.3), now=0.0)
        lost.append([schedule.loses("commands", 1.0) for _ in range(400)])
    assert lost[0] == lost[1]
    assert 80 < sum(lost[0]) < 160


def test_only_the_named_stream_loses_messages() -> None:
    schedule = FaultSchedule()
    schedule.add(Fault("lost_messages", probability=1.0, stream="images"), now=0.0)
    assert schedule.loses("images", 1.0)
    assert not schedule.loses("joint_states", 1.0)
