"""The queue in shared memory: order, room, markers, generations, and two processes that sleep and wake each other."""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpkv.shm.ring import Ring
from mpkv.shm.segment import Segment


@pytest.fixture
def segment() -> Iterator[Segment]:
    segment = Segment.create(1, ["get"])
    yield segment
    segment.close()


def rings(segment: Segment) -> tuple[Ring, Ring]:
    """Both ends of one ring."""
    producer, consumer = Ring(segment, 0), Ring(segment, 0)
    producer.reset(1)
    return producer, consumer


MARKER = object()
steps = st.lists(st.one_of(st.integers(0, 300_000), st.just(MARKER), st.just(None)), max_size=60)


@given(steps=steps)
@settings(max_examples=60, deadline=None)
def test_messages_come_out_whole_and_in_order_however_they_wrap(steps: list[object]) -> None:
    segment = Segment.create(1, ["get"])
    producer, consumer = rings(segment)
    waiting: deque[object] = deque()
    for number, step in enumerate(steps):
        if step is None:
            expected = waiting.popleft() if waiting else None
            taken = consumer.take()
            if expected is MARKER:
                assert taken is False
                consumer.drop_marker()
            else:
                assert taken == expected
        elif step is MARKER:
            room = producer.takes_marker()
            assert producer.put_marker() == room
            if room:
                waiting.append(MARKER)
        else:
            assert isinstance(step, int)
            message = bytes([number % 256]) * min(step, producer.most)
            if producer.put(message):
                waiting.append(message)
    segment.close()


def test_an_empty_ring_takes_the_largest_message_wherever_it_stands(segment: Segment) -> None:
    producer, consumer = rings(segment)
    for size in (1, 1000, 77_777, producer.most, 8, producer.most, producer.most - 1):
        message = os.urandom(size)
        assert producer.put(message)
        assert consumer.take() == message
    assert consumer.take() is None


def test_a_full_ring_refuses_and_takes_again_when_there_is_room(segment: Segment) -> None:
    producer, consumer = rings(segment)
    count = 0
    while producer.put(b"x" * 1000):
        count += 1
    assert count > 100
    assert consumer.take() == b"x" * 1000
    assert producer.put(b"y" * 1000)
    for _ in range(count - 1):
        assert consumer.take() == b"x" * 1000
    assert consumer.take() == b"y" * 1000


def test_a_reset_forgets_what_was_published_for_another_link(segment: Segment) -> None:
    producer, consumer = rings(segment)
    producer.put(b"old")
    producer.reset(2)
    assert consumer.generation == 2
    assert consumer.take() is None


def test_whoever_falls_asleep_after_a_message_was_published_does_not_sleep(segment: Segment) -> None:
    producer, consumer = rings(segment)
    assert consumer.falls_asleep()
    assert producer.put(b"1")
    assert producer.wakes()
    assert not producer.wakes(), "one wake is enough"
    assert not consumer.falls_asleep()
    assert consumer.take() == b"1"


def test_two_processes_lose_nothing_while_they_sleep_and_wake_each_other(segment: Segment) -> None:
    bell, count = os.eventfd(0, os.EFD_NONBLOCK), 60_000
    producer, consumer = rings(segment)
    child = os.fork()
    if child == 0:
        sent = 0
        while sent < count:
            if producer.put(b"%d" % sent):
                sent += 1
                if producer.wakes():
                    os.eventfd_write(bell, 1)
                if sent % 5000 == 0:
                    time.sleep(0.001)       # long enough for the consumer to find the ring empty
        os._exit(0)
    poll = select.poll()
    poll.register(bell, select.POLLIN)
    received = slept = 0
    while received < count:
        message = consumer.take()
        if message is None:
            if consumer.falls_asleep():
                slept += 1
                assert poll.poll(10_000), f"message {received} was published and nobody rang"
                consumer.is_awake()
                os.eventfd_read(bell)
            continue
        assert message == b"%d" % received
        received += 1
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(bell)
    assert slept, "the consumer never slept: the test has shown nothing"


def test_a_consumer_that_sleeps_on_the_ring_itself_is_woken_by_every_message(segment: Segment) -> None:
    producer, consumer = rings(segment)
    answers, questions = Ring(segment, 1), Ring(segment, 1)
    answers.reset(1)
    rounds = 5_000
    child = os.fork()
    if child == 0:
        # One message at a time, so that the other side sleeps before each of them
        for number in range(rounds):
            producer.put(b"%d" % number)
            producer.rings_bell()
            while questions.take() is None:
                questions.sleeps(10_000)
        os._exit(0)
    started = time.monotonic()
    for number in range(rounds):
        while (message := consumer.take()) is None:
            consumer.sleeps(10_000)
        assert message == b"%d" % number
        answers.put(b"")
        answers.rings_bell()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert time.monotonic() - started < 10, "a message was found when the wait had timed out, not when it came"


def test_a_wait_on_an_empty_ring_ends_in_time_or_when_a_link_is_opened(segment: Segment) -> None:
    producer, consumer = rings(segment)
    started = time.monotonic()
    consumer.sleeps(50)
    assert 0.04 < time.monotonic() - started < 5
    sleeper = threading.Thread(target=consumer.sleeps, args=(20_000,))
    sleeper.start()
    time.sleep(0.05)
    producer.reset(2)  # what the frontend does when it opens its end
    sleeper.join(10)
    assert not sleeper.is_alive(), "a new link did not wake who slept on the ring"
