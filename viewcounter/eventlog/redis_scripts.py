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
# release, which has none, its clock gives the position. The clocks are compared before anything is written. Keys: id,
# term, then stream and count of each partition. Arguments: the expected id, the gateway's clock, the bound of the
# difference (ms), then payload and number of events of each partition.
APPEND = f"""#!lua
{_CHECK_ID}
local refusal = check_id(KEYS[1], ARGV[1])
if refusal then return refusal end
local time = redis.call('TIME')
local ahead_ms = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2]
if math.abs(ahead_ms) > tonumber(ARGV[3]) then return redis.error_reply(string.format('CLOCKSKEW %d', ahead_ms)) end
local all = {{}}
local term = redis.call('GET', KEYS[2])
local next_id = term and term .. '-*' or '*'
for i = 3, #KEYS, 2 do
    local payload, count = ARGV[i + 1], ARGV[i + 2]
    local before = redis.call('INCRBY', KEYS[i + 1], count) - count
    local added = redis.pcall('XADD', KEYS[i], next_id, 'e', payload, 'b', before)
    if type(added) == 'table' then redis.call('DECRBY', KEYS[i + 1], count) end
    all[#all + 1] = added
end
return all
"""

# Events are exact, bytes an estimate: the stream's size, by the server's own estimate from its first 100 nodes of about
# 4 kB, times the share of its events that are unread. A running number of bytes beside that of events would cost every
# append. Entries without events are damaged ones; a stream of nothing else counts whole. Of the
# oldest unread entry, as many bytes are returned as hold its receive time.
READ_UNREAD = """#!lua flags=no-writes
local first = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1)
if #first == 0 then return {0, 0, false} end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local appended = redis.call('GET', KEYS[2])
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

# XSETID cannot create a stream and would also move an end backwards; XADD does the one and refuses the other. Entries
# at or below the new end may be ones that nobody has applied: they go behind it, oldest first, one by one so that the
# memory does not grow, and all in this one step, as those left below the end would never be read. Returns how many have
# moved, or -1 for an end that is far enough. Keys: stream, floor. Arguments: the new end, its term.
RAISE_TAIL = """#!lua flags=allow-oom
local added = redis.pcall('XADD', KEYS[1], ARGV[1], 'e', '')
if type(added) == 'table' and added.err then
    if string.find(added.err, 'equal or smaller') or string.find(added.err, 'greater than 0-0', 1, true) then
        return -1
    end
    return added
end
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[1])
local moved = 0
local first = redis.call('XRANGE', KEYS[1], '-', ARGV[1], 'COUNT', 1)
while #first > 0 do
    redis.call('XADD', KEYS[1], ARGV[2] .. '-*', unpack(first[1][2]))
    redis.call('XDEL', KEYS[1], first[1][1])
    moved = moved + 1
    first = redis.call('XRANGE', KEYS[1], '-', ARGV[1], 'COUNT', 1)
end
return moved
"""

# Never lower: what was trimmed is gone, whatever is said later. Numbers of a position have up to 20 digits, more than
# Lua's have, so they are compared as text of one length.
RAISE_FLOOR = """#!lua flags=allow-oom
local function pad(position)
    local term, seq = string.match(position, '^(%d+)-(%d+)$')
    return string.rep('0', 20 - #term) .. term .. string.rep('0', 20 - #seq) .. seq
end
local floor = redis.call('GET', KEYS[1])
if floor and pad(floor) >= pad(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""
