"""Where members of a load-balancing cluster in several processes meet: a hash and a lease in Redis.

    asa:lb:CLUSTER:members    address -> when it was laid down (Redis' own time), signed heartbeat
    asa:lb:CLUSTER:director   the address of the member that has the role; gone HOLD after its last renewal

One script does a whole visit, so that nothing comes between reading who has the role and taking it. What is
found there is believed only with this cluster's signature (`cluster key`); the rest is named and left alone.
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

MAX_ROWS: Final = 100  # members that are read; an ASA's cluster has at most 10
_VISIT: Final = """\
local time, hold = redis.call('TIME'), tonumber(ARGV[4])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], 10 * hold)
local director = redis.call('GET', KEYS[2])
if ARGV[3] == '1' and (not director or director == ARGV[1]) then
  director = ARGV[1]
  redis.call('SET', KEYS[2], director, 'PX', hold)
elseif director == ARGV[1] then
  director = false
  redis.call('DEL', KEYS[2])
end
local rows, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at, heartbeat = string.match(all[i + 1], '^(%d+) (.*)$')
  if not at or now - at >= hold then
    redis.call('HDEL', KEYS[1], all[i])
  else
    rows[#rows + 1] = {now - at, heartbeat}
  end
end
return {director or '', redis.call('PTTL', KEYS[2]), rows}
"""

log = structlog.get_logger(__name__)


class RedisMeeting:
    """The meeting of members that reach one Redis server."""

    def __init__(self, client: coredis.Redis[bytes]) -> None:
        self._client = client
        self._refused: set[str] = set()

    async def meet(self, said: LoadBalancing, mine: Member, wants_role: bool) -> Roll:
        """Lay down a heartbeat and read the others'. Raises `MeetingDown`."""
        key = derive_key(f"balancing {said.cluster_ip}", said.key)
        name = f"asa:lb:{said.cluster_ip}"
        keys = (f"{name}:members", f"{name}:director")
        arguments = (mine.address, encode(key, mine), int(wants_role), int(HOLD * 1000))
        try:
            answer: Any = await self._client.eval(_VISIT, keys, arguments)
        except (RedisError, OSError) as error:
            # nobody listens there: then nobody meets there
            raise MeetingDown(str(error), for_all=_nobody_listens(error)) from error
        director, left, rows = answer
        heartbeats: list[tuple[Member, float]] = []
        for age, record in rows[:MAX_ROWS]:
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


def _nobody_listens(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False


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
