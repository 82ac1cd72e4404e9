"""Random commands of each family mean the same to redis-server, to mpkv with one shard and to mpkv with four."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.differential import Words
from tests.properties.families import FAMILIES, KEYS, sequences
from tests.properties.rivals import Rivals


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data(), protocol=st.sampled_from([2, 3]))
def test_random_sequences_reply_as_redis_does_and_leave_the_same_data(
    family: str, data: st.DataObject, protocol: int, rivals: Rivals
) -> None:
    rivals.compete(data.draw(sequences(FAMILIES[family])), KEYS, protocol)


@given(requests=sequences(sum(FAMILIES.values(), ())), protocol=st.sampled_from([2, 3]))
def test_sequences_of_all_families_together_do_so_too(requests: list[Words], protocol: int, rivals: Rivals) -> None:
    rivals.compete(requests, KEYS, protocol)
