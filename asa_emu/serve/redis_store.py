"""The store of a failover pair in Redis: scripts for what must be one step, and a stream for the log.

    asa:{PAIR}:lease, :fence      who is active, gone one hold time after its last renewal; the highest number
    asa:{PAIR}:hello:UNIT         how a unit is
    asa:{PAIR}:log                entries, newest 1024 or so: field h the head, r the records, a line each
    asa:{PAIR}:sessions           index -> record, for whoever joins; :settings and :head beside it
    asa:{PAIR}:intervals          who was active from when to when
    asa:{PAIR}:identity           the certificate that both units show

PAIR is the service address. An entry is written by the script that first looks whose the lease is: a unit
that was active once and has slept cannot write into another one's reign. What lies there and is of the wrong
type is thrown away, since it can only be somebody else's.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final

import coredis
from coredis.exceptions import RedisError
from coredis.retry import NoRetryPolicy

from asa_emu.ha.journal import Snapshot
from asa_emu.ha.records import Entry
from asa_emu.ha.store import MAX_ENTRIES, MAX_NOTES, MAX_READ, Put, RawAsk, RawTold
from asa_emu.serve.store import StoreDown, StoreSilent

# after a write that takes no memory a script may go on even when Redis has none left for others
_PURE: Final = """\
redis.call('DEL', KEYS[1] .. ':none')
local function pure(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
"""
# ARGV: hold in ms, hello, our lease, its number, '1' while it is certain, the lease wanted, its number, what
# is no lease, seconds after which a store that was started gives the lease to strangers
_POLL: Final = f"""{_PURE}
for _, key in ipairs(KEYS) do pure(key, 'string') end
local hold, mine, wanted = tonumber(ARGV[1]), ARGV[3], ARGV[6]
local time = redis.call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[3], string.format('%.0f ', time) .. ARGV[2], 'PX', 3 * hold)
local lease, fence = redis.call('GET', KEYS[1]) or '', tonumber(redis.call('GET', KEYS[2]) or '') or 0
local info, granted = redis.call('INFO', 'server'), 0
local seasoned = tonumber(string.match(info, 'uptime_in_seconds:(%d+)')) >= tonumber(ARGV[9])
local function grant(to, number)
  redis.call('SET', KEYS[1], to, 'PX', hold)
  redis.call('SET', KEYS[2], number)
  lease, fence, granted = to, tonumber(number), 1
end
if lease ~= '' and (lease == mine or lease == wanted) then -- wanted: granted, but the answer was lost
  redis.call('PEXPIRE', KEYS[1], hold)
elseif lease == '' or lease == ARGV[8] then
  if mine ~= '' and fence <= tonumber(ARGV[4]) and (ARGV[5] == '1' or seasoned) then
    grant(mine, ARGV[4])
  elseif wanted ~= '' and fence < tonumber(ARGV[7]) and seasoned then
    grant(wanted, ARGV[7])
  end
end
local left = redis.call('PTTL', KEYS[1])
local said_at, said = string.match(redis.call('GET', KEYS[4]) or '', '^(%d+) (.*)$')
return {{lease, left == -1 and hold or left, fence, granted, said or '',
        said and math.min(math.max(time - said_at, 0), 3600000) or 0, string.match(info, 'run_id:(%w+)')}}
"""
_RELEASE: Final = f"""{_PURE}
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
"""
# ARGV: our lease, head, then for each change its kind, index or indices, record
_APPEND: Final = f"""{_PURE}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
pure(KEYS[2], 'stream') pure(KEYS[3], 'hash') pure(KEYS[4], 'string') pure(KEYS[5], 'string')
local records = {{}}
for i = 3, #ARGV, 3 do
  local kind, index, record = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  records[#records + 1] = record
  if kind == 'session' then redis.call('HSET', KEYS[3], index, record)
  elseif kind == 'end' then redis.call('HDEL', KEYS[3], index)
  elseif kind == 'settings' then redis.call('SET', KEYS[4], record)
  elseif kind == 'census' then
    local kept = {{}}
    for one in string.gmatch(index, '%d+') do kept[one] = true end
    for _, one in ipairs(redis.call('HKEYS', KEYS[3])) do
      if not kept[one] then redis.call('HDEL', KEYS[3], one) end
    end
  end
end
redis.call('SET', KEYS[5], ARGV[2])
local lines = table.concat(records, '\\n')
local function add()
  return redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', {MAX_ENTRIES}, '*', 'h', ARGV[2], 'r', lines)
end
if type(add()) == 'table' then -- somebody has used up the last id of the stream
  redis.call('DEL', KEYS[2])
  add()
end
return 1
"""
_SNAPSHOT: Final = f"""{_PURE}
pure(KEYS[1], 'stream') pure(KEYS[2], 'hash') pure(KEYS[3], 'string') pure(KEYS[4], 'string')
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return {{last and last[1] or '0-0', redis.call('GET', KEYS[4]) or '', redis.call('GET', KEYS[3]) or '',
        redis.call('HVALS', KEYS[2])}}
"""
_NOTE: Final = f"""{_PURE}
pure(KEYS[1], 'list')
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -{MAX_NOTES}, -1)
"""
_SHARE: Final = f"""{_PURE}
pure(KEYS[1], 'string')
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[2] then return found end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
"""


class RedisStore:
    """One unit's way to the store. `hold` is the life of the lease in seconds."""

    def __init__(
        self, quick: coredis.Redis[bytes], patient: coredis.Redis[bytes], pair: str, hold: float
    ) -> None:
        self._quick = quick
        self._patient = patient
        self._prefix = f"asa:{{{pair}}}:"
        self._hold = hold
        self._scripts: dict[str, Any] = {}

    def clock(self) -> float:
        """Seconds since the machine's start, its sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def _run(self, script: str, names: Iterable[str], *arguments: bytes | str | int) -> Any:
        made = self._scripts.get(script)
        if made is None:
            made = self._scripts[script] = self._quick.register_script(script)
        keys = [self._prefix + name for name in names]
        try:
            return await made(keys, arguments)
        except (RedisError, OSError) as error:
            if nobody_listens(error):
                raise StoreDown(str(error)) from error
            if not isinstance(error, coredis.exceptions.ConnectionError):
                raise StoreSilent(str(error)) from error
        with _told_apart():  # the connection is gone: whether somebody listens, only another one can tell
            return await made(keys, arguments)

    async def poll(self, ask: RawAsk) -> RawTold:
        """Renew the lease or ask for it."""
        answer = await self._run(
            _POLL,
            ("lease", "fence", f"hello:{ask.unit}", f"hello:{ask.mate}"),
            int(self._hold * 1000),
            ask.hello,
            ask.mine or b"",
            ask.mine_fence,
            int(ask.valid),
            ask.wanted or b"",
            ask.wanted_fence,
            ask.void or b"",
            math.ceil(self._hold) + 1,  # it counts in whole seconds, and may be one ahead
        )
        lease, left, fence, granted, hello, age, run = answer
        return RawTold(
            lease=lease or None,
            left=max(0, left) / 1000,
            fence=fence,
            granted=granted == 1,
            hello=hello or None,
            age=max(0, age) / 1000,
            run=run or b"",
        )

    async def release(self, mine: bytes, free: bytes) -> None:
        """Put a lease that is free in the place of ours."""
        await self._run(_RELEASE, ("lease",), mine, free, int(self._hold * 1000))

    async def append(self, lease: bytes, entry: Entry, puts: Iterable[Put]) -> bool:
        """Write an entry, unless the lease is not ours."""
        changes: list[bytes | str] = []
        for put in puts:
            changes += [put.kind, ",".join(map(str, put.indices)), put.record]
        names = ("lease", "log", "sessions", "settings", "head")
        return bool(await self._run(_APPEND, names, lease, entry.head, *changes) == 1)

    async def snapshot(self) -> Snapshot:
        """Everything at one instant."""
        position, head, settings, sessions = await self._run(
            _SNAPSHOT, ("log", "sessions", "settings", "head")
        )
        return Snapshot(position, head or None, tuple(sessions), settings or None)

    async def read(self, position: bytes, wait: float) -> tuple[bytes, list[Entry]]:
        """The next entries, waiting some seconds for the first one."""
        block = int(wait * 1000) or None
        with _told_apart():
            streams = {self._prefix + "log": position}
            answer: Any = await self._patient.xread(streams, count=MAX_READ, block=block)
        found = next(iter(answer.values()), ()) if answer else ()
        entries = [
            Entry(said.get(b"h", b""), tuple((said.get(b"r") or b"").splitlines()))
            for said in (dict(one.field_values or {}) for one in found)
        ]
        return (found[-1].identifier if found else position), entries

    async def note(self, line: bytes) -> None:
        """Add a line to the list of who was active when."""
        await self._run(_NOTE, ("intervals",), line)

    async def share(self, name: str, mine: bytes, void: bytes = b"") -> bytes:
        """What the first unit has put under a name; ours, when there is nothing but `void`."""
        return bytes(await self._run(_SHARE, (name,), mine, void))


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        if nobody_listens(error):
            raise StoreDown(str(error)) from error
        raise StoreSilent(str(error)) from error


def nobody_listens(error: BaseException) -> bool:
    """Whether every attempt at a connection was refused; a name may stand for several addresses."""
    if isinstance(error, BaseExceptionGroup):
        return all(nobody_listens(one) for one in error.exceptions)
    if isinstance(error, ConnectionRefusedError):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and nobody_listens(cause)


def redis_store(url: str, pair: str, hold: float) -> AbstractAsyncContextManager[RedisStore]:
    """The store at `redis://HOST:PORT/DB`, which need not be there yet. ValueError for another URL."""
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError(url)
    return _entered(url, pair, hold)


@asynccontextmanager
async def _entered(url: str, pair: str, hold: float) -> AsyncIterator[RedisStore]:
    limit = hold / 3
    settings: dict[str, Any] = {"retry_policy": NoRetryPolicy(), "connect_timeout": limit}
    quick = coredis.Redis.from_url(url, stream_timeout=limit, **settings)
    patient = coredis.Redis.from_url(url, stream_timeout=limit + hold, **settings)
    async with quick, patient:
        yield RedisStore(quick, patient, pair, hold)
