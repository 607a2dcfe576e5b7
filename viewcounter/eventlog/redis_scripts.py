"""Lua scripts of the log server: each is atomic, and in the append-only file as a whole or not at all.

`log-id` is the id of the server's log; a caller that expects another id changes nothing (NOTOURLOG). The expected id is
empty for a cluster that has not given its log an id yet. `log-term` is the term of the positions that it gives.
"""

_CHECK_ID = """
local function check_id(key, expected)
    if expected == '' then return nil end
    local found = redis.call('GET', key)
    if found == expected then return nil end
    return redis.error_reply('NOTOURLOG ' .. (found or 'none'))
end
"""

# One step, so that numbers ascend as positions do, whichever gateway appends. Of all partitions at once: a command each
# costs the gateway more than the events in it. The server hands out the sequence in its term; in a log of an earlier
# release, which has none, its clock gives the position. A server that has had fewer events of a partition than this
# gateway knows to be appended is an older copy: nothing is written. Keys: id and term, then stream and count of each
# partition. Arguments: the expected id, then payload, number of events and known count of each partition. Returns
# position and count of each. The comment makes it another script for each run of the server: see `redis_run`.
_APPEND = f"""
{_CHECK_ID}
local refusal = check_id(KEYS[1], ARGV[1])
if refusal then return refusal end
for i = 4, #KEYS, 2 do
    local known = tonumber(ARGV[(i - 4) / 2 * 3 + 4])
    if known > 0 and tonumber(redis.call('GET', KEYS[i]) or 0) < known then
        return redis.error_reply('LOGBEHIND ' .. KEYS[i])
    end
end
local term = redis.call('GET', KEYS[2])
local next_id = term and term .. '-*' or '*'
local all = {{}}
for i = 4, #KEYS, 2 do
    local at = (i - 4) / 2 * 3 + 2
    local count = ARGV[at + 1]
    local after = redis.call('INCRBY', KEYS[i], count)
    local added = redis.pcall('XADD', KEYS[i - 1], next_id, 'e', ARGV[at], 'b', after - count)
    if type(added) == 'table' and added.err then redis.call('DECRBY', KEYS[i], count) end
    all[#all + 1] = added
    all[#all + 1] = after
end
return all
"""


def build_append(run: str) -> str:
    return f"#!lua\n-- {run}\n{_APPEND}"


# Entries at or below an applied position, in a stream that ends there or before, may have been appended after a loss
# and never been read: they go behind the new term's first entry, oldest first, one by one so that the memory does not
# grow, and all in this one step. A log with another id begins here: the server has nothing of earlier terms. Keys: id,
# term and first term, then stream and count of each partition that may lack entries.
# Arguments: new id and term; 1 if the log must be a certain one until now, and its id and term; then for each partition
# the position up to which entries are appended again.
OPEN = """#!lua flags=allow-oom
if ARGV[3] == '1' then
    local id, term = redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or '0'
    if id ~= ARGV[4] or term ~= ARGV[5] then return 0 end
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then redis.call('SET', KEYS[3], ARGV[2]) end
for i = 4, #KEYS, 2 do
    local through = ARGV[(i - 4) / 2 + 6]
    redis.call('XADD', KEYS[i], ARGV[2] .. '-0', 'e', '', 'b', redis.call('GET', KEYS[i + 1]) or 0, 'm', 'lost')
    local first = redis.call('XRANGE', KEYS[i], '-', through, 'COUNT', 1)
    while #first > 0 do
        redis.call('XADD', KEYS[i], ARGV[2] .. '-*', unpack(first[1][2]))
        redis.call('XDEL', KEYS[i], first[1][1])
        first = redis.call('XRANGE', KEYS[i], '-', through, 'COUNT', 1)
    end
end
redis.call('MSET', KEYS[1], ARGV[1], KEYS[2], ARGV[2])
return 1
"""

# Events are exact, bytes an estimate: the stream's size, by the server's own estimate from its first 100 nodes of about
# 4 kB, times the share of its events that are unread. A running number of bytes beside that of events would cost every
# append. Entries without events are damaged ones; a stream of nothing else counts whole. Of the
# oldest unread entry, as many bytes are returned as hold its receive time.
READ_UNREAD = """#!lua flags=no-writes
local first = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1)
if #first == 0 then return {0, 0, false} end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local appended = redis.call('GET', KEYS[2]) or 0
local unread, kept = appended - first[1][2][4], appended - oldest[1][2][4]
local bytes = redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 100)
if kept > 0 then bytes = bytes * unread / kept end
return {unread, math.floor(bytes), string.sub(first[1][2][2], 1, ARGV[2])}
"""

# XINFO carries the first and last entry with it, whole payloads; a script sends only the id back.
READ_TAIL = """#!lua flags=no-writes
if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
end
return redis.error_reply('XINFO STREAM without last-generated-id')
"""

# The floor is the last entry that is about to go. It is read and written in one step with the trim, so it only
# grows. A trim must work when memory is full: it is what makes room. Keys: stream, floor, id.
TRIM = f"""#!lua flags=allow-oom
{_CHECK_ID}
local refusal = check_id(KEYS[3], ARGV[3])
if refusal then return refusal end
local last = redis.call('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', 1)
if #last == 0 then return 0 end
redis.call('SET', KEYS[2], last[1][1])
return redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
"""
