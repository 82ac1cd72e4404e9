"""Words at random, behind every command's name, are refused with the same words by redis-server and by mpkv."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.differential import Words
from tests.properties.requests_at_random import KEYS, SETUP, commands, sequences
from tests.properties.rivals import Rivals


@given(requests=sequences(), protocol=st.sampled_from([2, 3]))
def test_random_arguments_are_answered_as_redis_does(requests: list[Words], protocol: int, rivals: Rivals) -> None:
    rivals.compete([*SETUP, *requests], KEYS, protocol)


#: What this search has found; each was answered otherwise once.
FOUND_BEFORE = (
    "SET {t}string v EX ", "SET {t}missing v NX PX ", "ZINCRBY {t}zset NX 1", "ZINCRBY {t}zset xx nx",
    "ZADD {t}zset -0 zero|ZSCORE {t}zset zero|ZPOPMIN {t}zset",
    "LPOS {t}list a RANK -9223372036854775808", "LPOS {t}list a RANK -9223372036854775807",
    "CLIENT UNBLOCK x y", "CLIENT UNBLOCK x TIMEOUT z", "client Unblock x TIMEOUT z", "CLIENT pause 1 write x",
    "PUBSUB channels a b", "Pubsub ShardChannels a b",
)  # fmt: skip


@pytest.mark.parametrize("found", FOUND_BEFORE)
def test_what_was_found_before_is_answered_as_redis_does(found: str, rivals: Rivals) -> None:
    requests = [[word.encode() for word in request.split(" ")] for request in found.split("|") if request]
    rivals.compete([*SETUP, *requests], KEYS)


def test_commands_of_every_type_are_drawn() -> None:
    groups = {command.group for command in commands()}
    assert groups >= {"string", "list", "set", "hash", "sorted-set", "generic"}
    assert len(commands()) > 100
