"""Where members of a load-balancing cluster in several processes meet: a hash and a lease in Redis.

    asa:lb:IP:PORT:members    address -> when it was laid down (Redis' own time), signed heartbeat
    asa:lb:IP:PORT:director   the address of the member that has the role; gone HOLD after its last renewal

Members of one cluster listen on one port; those at other ports of its address are another cluster.

One script does a whole visit, so that nothing comes between reading who has the role and taking it. What is
found there is believed only with this cluster's signature (`cluster key`); the rest is named and left alone.
What no member can have written is thrown away: it would be in the way of those that meet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import coredis
import structlog
from coredis.exceptions import RedisError

from asa_emu.config import LoadBalancing
from asa_emu.ha.balance import HOLD, Member, Roll
from asa_emu.ha.records import RecordRefused, decode_untrusted, derive_key, encode
from asa_emu.serve.balancing import MEET_LIMIT, MeetingDown
from asa_emu.serve.redis_store import nobody_listens

MAX_ROWS: Final = 100  # members that lie there; an ASA's cluster has at most 10
MAX_ROW: Final = 2048  # bytes of a heartbeat with its stamp
MAX_ADDRESS: Final = 64  # bytes
# after a write that takes no memory a script may go on even when Redis has none left for others
_VISIT: Final = """\
redis.call('DEL', KEYS[1] .. ':none')
local mine, heartbeat, wants_role, may_direct = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4] == '1'
local hold, max_rows = tonumber(ARGV[5]), tonumber(ARGV[6])
local max_row, max_address = tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HLEN', KEYS[1]) > max_rows then
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], mine, now .. ' ' .. heartbeat)
redis.call('PEXPIRE', KEYS[1], 10 * hold)
local left, director = redis.call('PTTL', KEYS[2]), false
if left > 0 and left <= hold and redis.call('TYPE', KEYS[2]).ok == 'string'
    and redis.call('STRLEN', KEYS[2]) <= max_address then
  director = redis.call('GET', KEYS[2])
else
  redis.call('DEL', KEYS[2])
end
if director == mine or (not director and wants_role) then
  if may_direct then
    director, left = mine, hold
    redis.call('SET', KEYS[2], mine, 'PX', hold)
  else
    director = false
    redis.call('DEL', KEYS[2])
  end
end
local rows = {}
for _, address in ipairs(redis.call('HKEYS', KEYS[1])) do
  local at, said
  if #address <= max_address and redis.call('HSTRLEN', KEYS[1], address) <= max_row then
    at, said = string.match(redis.call('HGET', KEYS[1], address), '^(%d+) (.*)$')
    at = tonumber(at)
  end
  if at and math.abs(now - at) < hold then
    rows[#rows + 1] = {math.max(0, now - at), said}
  else
    redis.call('HDEL', KEYS[1], address)
  end
end
return {director or '', left, rows}
"""

log = structlog.get_logger(__name__)


class RedisMeeting:
    """The meeting of members that reach one Redis server."""

    def __init__(self, client: coredis.Redis[bytes]) -> None:
        self._client = client
        self._refused: set[str] = set()

    async def meet(self, said: LoadBalancing, mine: Member, wants_role: bool) -> Roll:
        """Lay down a heartbeat and read the others'. Raises `MeetingDown`."""
        cluster = f"{said.cluster_ip}:{mine.port}"
        key = derive_key(f"balancing {cluster}", said.key)
        name = f"asa:lb:{cluster}"
        keys = (f"{name}:members", f"{name}:director")
        said_now = (mine.address, encode(key, mine), int(wants_role), int(mine.may_direct))
        arguments = (*said_now, int(HOLD * 1000), MAX_ROWS, MAX_ROW, MAX_ADDRESS)
        try:
            answer: Any = await self._client.eval(_VISIT, keys, arguments)
        except (RedisError, OSError) as error:
            # nobody listens there: then nobody meets there
            raise MeetingDown(str(error), for_all=nobody_listens(error)) from error
        director, left, rows = answer
        heartbeats: list[tuple[Member, float]] = []
        for age, record in rows:
            try:
                heartbeats.append((decode_untrusted(key, record, Member), age / 1000))
            except RecordRefused as refused:
                self._refuse(str(refused))
        return Roll(tuple(heartbeats), director.decode("ascii", "replace") or None, left / 1000)

    def _refuse(self, reason: str) -> None:
        """Name a reason once, however long the record lies there."""
        if reason not in self._refused and len(self._refused) < MAX_ROWS:
            self._refused.add(reason)
            log.warning("balancing.heartbeat_refused", reason=reason)


def redis_meeting(url: str) -> AbstractAsyncContextManager[RedisMeeting]:
    """A meeting in the Redis server at `redis://HOST:PORT/DB`, which need not be there yet.

    ValueError when that is no such URL.
    """
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError(url)
    return _entered(coredis.Redis.from_url(url, connect_timeout=MEET_LIMIT, stream_timeout=MEET_LIMIT))


@asynccontextmanager
async def _entered(client: coredis.Redis[bytes]) -> AsyncIterator[RedisMeeting]:
    async with client:
        yield RedisMeeting(client)
