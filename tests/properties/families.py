"""Random requests of each family, made from templates: words in capitals of `WORDS` are drawn, all others stand as they
are.

Few keys, so that commands meet on them; two of them share a tag, so that commands with several keys often run on four
shards too. Scores and floats are halves and quarters, which 7.0 and 7.2 print alike. Times are long ago or far off: no
reply may depend on the clock.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from tests.helpers.differential import Words

KEYS: Final = (b"a", b"{a}1", b"{a}2", b"b", b"c", b"d")

WORDS: Final = {
    "KEY": tuple(key.decode() for key in KEYS),
    "NEAR": ("a", "{a}1", "{a}2"),
    "VALUE": ("x", "y", "z", "10", "-3", "2.5", "long" * 20, "0"),
    "MEMBER": ("x", "y", "z", "10", "-3", "11", "12", "long" * 20),
    "NUMBER": ("0", "1", "-1", "2", "-2", "5", "100", "x"),
    "COUNT": ("1", "2", "3", "100"),
    "SCORE": ("0", "1", "-1", "2.5", "1000000", "inf", "-inf", "0.25", "x"),
    "BOUND": ("-inf", "+inf", "0", "(1", "1", "2.5", "(2.5"),
    "LEX": ("-", "+", "[x", "(x", "[y", "(z", "x"),
    "END": ("LEFT", "RIGHT"),
    "SIDE": ("BEFORE", "AFTER"),
    "EXTREME": ("MIN", "MAX"),
    "SETTING": ("", "NX", "XX", "GET", "NX GET", "KEEPTTL", "PXAT 33177117420000", "EXAT 1", "XX KEEPTTL GET", "EX 0"),
    "POINT": ("", "EXAT 33177117420", "PXAT 33177117421000", "EXAT 1", "PERSIST"),
    "WHEN": ("33177117420", "33177117500", "33177117400", "1"),
    "ONLY": ("", "NX", "XX", "GT", "LT", "XX GT", "NX XX"),
    "ADDING": ("", "NX", "XX", "GT", "LT", "CH", "XX CH", "GT CH", "INCR", "NX INCR"),
    "ALGEBRA": ("", "WEIGHTS 2 0.5", "AGGREGATE MIN", "AGGREGATE MAX", "WEIGHTS 1 -1 AGGREGATE MAX"),
    "REPLACE": ("", "REPLACE", "DB 1", "DB 1 REPLACE"),
    "PATTERN": ("*", "a*", "?", "[a-c]", "{a}*"),
    "BIT": ("0", "1"),
}  # fmt: skip

STRINGS: Final = (
    "SET KEY VALUE", "SET KEY VALUE SETTING", "SETNX KEY VALUE", "SETEX KEY 1000 VALUE", "PSETEX KEY 1000000 VALUE",
    "GET KEY",
    "GETSET KEY VALUE", "GETDEL KEY", "GETEX KEY POINT", "MSET KEY VALUE KEY VALUE KEY VALUE",
    "MSETNX NEAR VALUE NEAR VALUE",
    "MGET KEY KEY KEY", "APPEND KEY VALUE", "SETRANGE KEY NUMBER VALUE", "GETRANGE KEY NUMBER NUMBER",
    "SUBSTR KEY NUMBER NUMBER",
    "STRLEN KEY", "INCR KEY", "DECR KEY", "INCRBY KEY NUMBER", "DECRBY KEY NUMBER", "INCRBYFLOAT KEY SCORE",
    "LCS NEAR NEAR",
    "LCS NEAR NEAR IDX WITHMATCHLEN", "RPUSH KEY VALUE", "DEL KEY KEY", "EXPIRETIME KEY",
)  # fmt: skip
LISTS: Final = (
    "LPUSH KEY VALUE VALUE", "RPUSH KEY VALUE VALUE VALUE", "LPUSH KEY VALUE", "RPUSH KEY VALUE", "LPUSHX KEY VALUE",
    "RPUSHX KEY VALUE",
    "LPOP KEY", "RPOP KEY", "LPOP KEY NUMBER", "RPOP KEY NUMBER", "LRANGE KEY 0 -1", "LRANGE KEY NUMBER NUMBER",
    "LTRIM KEY NUMBER NUMBER",
    "LINDEX KEY NUMBER", "LSET KEY NUMBER VALUE", "LREM KEY NUMBER VALUE", "LINSERT KEY SIDE VALUE VALUE", "LLEN KEY",
    "LPOS KEY VALUE RANK NUMBER COUNT 0", "LPOS KEY VALUE MAXLEN NUMBER", "LMOVE NEAR NEAR END END",
    "RPOPLPUSH NEAR NEAR",
    "LMPOP 2 NEAR NEAR END COUNT COUNT", "BLPOP NEAR NEAR 0.001", "BRPOP KEY 0.001", "BLMOVE NEAR NEAR END END 0.001",
    "BLMPOP 0.001 1 KEY END", "SET KEY VALUE", "DEL KEY",
)  # fmt: skip
HASHES: Final = (
    "HSET KEY MEMBER VALUE", "HSET KEY MEMBER VALUE MEMBER VALUE", "HMSET KEY MEMBER VALUE MEMBER VALUE",
    "HSETNX KEY MEMBER VALUE",
    "HGET KEY MEMBER", "HMGET KEY MEMBER MEMBER", "HGETALL KEY", "HKEYS KEY", "HVALS KEY", "HLEN KEY",
    "HEXISTS KEY MEMBER",
    "HSTRLEN KEY MEMBER", "HDEL KEY MEMBER", "HDEL KEY MEMBER MEMBER MEMBER", "HINCRBY KEY MEMBER NUMBER",
    "HINCRBYFLOAT KEY MEMBER SCORE",
    "HRANDFIELD KEY 0", "HSCAN KEY 0", "HSCAN KEY 0 MATCH PATTERN COUNT 100", "SET KEY VALUE", "DEL KEY",
)  # fmt: skip
SETS: Final = (
    "SADD KEY MEMBER", "SADD KEY MEMBER MEMBER MEMBER", "SREM KEY MEMBER", "SREM KEY MEMBER MEMBER", "SCARD KEY",
    "SISMEMBER KEY MEMBER",
    "SMISMEMBER KEY MEMBER MEMBER", "SMEMBERS KEY", "SMOVE NEAR NEAR MEMBER", "SPOP KEY 100", "SPOP KEY 0",
    "SRANDMEMBER KEY 0",
    "SINTER KEY KEY", "SUNION KEY KEY KEY", "SDIFF KEY KEY", "SINTERCARD 2 KEY KEY", "SINTERCARD 2 KEY KEY LIMIT 1",
    "SINTERSTORE NEAR NEAR NEAR", "SUNIONSTORE NEAR NEAR NEAR", "SDIFFSTORE NEAR NEAR NEAR", "SSCAN KEY 0 COUNT 100",
    "SET KEY VALUE",
    "DEL KEY",
)  # fmt: skip
SORTED_SETS: Final = (
    "ZADD KEY SCORE MEMBER", "ZADD KEY SCORE MEMBER SCORE MEMBER", "ZADD KEY ADDING SCORE MEMBER",
    "ZINCRBY KEY SCORE MEMBER",
    "ZREM KEY MEMBER MEMBER", "ZCARD KEY", "ZSCORE KEY MEMBER", "ZMSCORE KEY MEMBER MEMBER", "ZRANK KEY MEMBER",
    "ZREVRANK KEY MEMBER",
    "ZCOUNT KEY BOUND BOUND", "ZLEXCOUNT KEY LEX LEX", "ZRANGE KEY 0 -1 WITHSCORES", "ZRANGE KEY NUMBER NUMBER REV",
    "ZRANGE KEY BOUND BOUND BYSCORE LIMIT NUMBER NUMBER", "ZREVRANGE KEY NUMBER NUMBER WITHSCORES",
    "ZRANGEBYSCORE KEY BOUND BOUND WITHSCORES",
    "ZREVRANGEBYSCORE KEY BOUND BOUND", "ZRANGEBYLEX KEY LEX LEX", "ZREVRANGEBYLEX KEY LEX LEX",
    "ZREMRANGEBYRANK KEY NUMBER NUMBER",
    "ZREMRANGEBYSCORE KEY BOUND BOUND", "ZREMRANGEBYLEX KEY LEX LEX", "ZPOPMIN KEY", "ZPOPMAX KEY NUMBER",
    "ZMPOP 2 NEAR NEAR EXTREME COUNT 2",
    "BZPOPMIN NEAR NEAR 0.001", "BZMPOP 0.001 1 KEY EXTREME", "ZUNION 2 KEY KEY ALGEBRA WITHSCORES",
    "ZINTER 2 KEY KEY ALGEBRA WITHSCORES",
    "ZDIFF 2 KEY KEY WITHSCORES", "ZINTERCARD 2 KEY KEY", "ZUNIONSTORE NEAR 2 NEAR NEAR ALGEBRA",
    "ZINTERSTORE NEAR 2 NEAR NEAR ALGEBRA",
    "ZDIFFSTORE NEAR 2 NEAR NEAR", "ZRANGESTORE NEAR NEAR 0 -1", "ZSCAN KEY 0 COUNT 100", "SADD KEY MEMBER",
    "SET KEY VALUE", "DEL KEY",
)  # fmt: skip
#: Without DBSIZE and RANDOMKEY: redis-server counts a key whose time is over until somebody asks for it.
GENERIC: Final = (
    "SET KEY VALUE", "SET KEY VALUE SETTING", "RPUSH KEY VALUE", "SADD KEY MEMBER", "HSET KEY MEMBER VALUE",
    "ZADD KEY SCORE MEMBER",
    "DEL KEY", "DEL KEY KEY KEY", "UNLINK KEY KEY", "EXISTS KEY KEY KEY", "TOUCH KEY KEY", "TYPE KEY",
    "EXPIREAT KEY WHEN ONLY",
    "PEXPIREAT KEY WHEN ONLY", "EXPIRE KEY 100000 ONLY", "EXPIRE KEY -1", "PEXPIRE KEY 0", "PERSIST KEY",
    "EXPIRETIME KEY",
    "PERSIST KEY", "RENAME NEAR NEAR", "RENAMENX NEAR NEAR", "COPY NEAR NEAR REPLACE", "MOVE KEY 1", "SELECT BIT",
    "KEYS PATTERN",
    "SCAN 0 MATCH PATTERN", "SCAN 0 COUNT COUNT", "SCAN 0 TYPE string", "GET KEY", "OBJECT REFCOUNT KEY", "FLUSHDB",
)  # fmt: skip
#: What has one reply in whatever order its members are: replies inside EXEC are compared byte by byte.
IN_TRANSACTIONS: Final = (
    "SET KEY VALUE", "GET KEY", "INCR KEY", "APPEND KEY VALUE", "RPUSH KEY VALUE VALUE", "LRANGE KEY 0 -1",
    "LPOP KEY", "HSET KEY MEMBER VALUE",
    "HGET KEY MEMBER", "SADD KEY MEMBER", "SCARD KEY", "ZADD KEY SCORE MEMBER", "ZRANGE KEY 0 -1 WITHSCORES",
    "DEL KEY KEY", "MSET KEY VALUE KEY VALUE",
    "MGET KEY KEY KEY", "EXISTS KEY KEY KEY", "SINTERCARD 2 KEY KEY", "ZUNION 2 KEY KEY WITHSCORES",
    "RENAME NEAR NEAR", "EXPIREAT KEY WHEN",
    "PERSIST KEY", "BLPOP NEAR 0.001", "PING", "ECHO VALUE", "SELECT BIT", "FLUSHDB",
)  # fmt: skip
TRANSACTIONS: Final = (
    *IN_TRANSACTIONS, *["MULTI"] * 8, *["EXEC"] * 8, "DISCARD", "GET", "NOSUCH KEY", "WATCH a", "UNWATCH",
)  # fmt: skip

FAMILIES: Final = {
    "strings": STRINGS, "lists": LISTS, "hashes": HASHES, "sets": SETS, "sorted sets": SORTED_SETS, "generic": GENERIC,
}  # fmt: skip


@st.composite
def requests(draw: st.DrawFn, templates: tuple[str, ...]) -> Words:
    """One request."""
    drawn = [
        draw(st.sampled_from(WORDS[word])) if word in WORDS else word
        for word in draw(st.sampled_from(templates)).split()
    ]
    return " ".join(drawn).encode().split()


def sequences(templates: tuple[str, ...]) -> st.SearchStrategy[list[Words]]:
    return st.lists(requests(templates), min_size=1, max_size=60)
