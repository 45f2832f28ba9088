-- Fences a partition and fills it anew from the ledger: the one way around the door.
--
-- KEYS as in the inventory's script; ARGV: what to do, for whom, and with what. A rebuild is known
-- by its token, "<epoch>:<nonce>", which stands in meta while it has the right to write: one that
-- was frozen and goes on after another has begun finds another's token, or none, and writes
-- nothing.
local STOCK, RESERVATIONS, ORDERS, DEADLINES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local JOURNAL, SEEN, SEEN_BEFORE, META = KEYS[5], KEYS[6], KEYS[7], KEYS[8]

local action, token = ARGV[1], ARGV[2]
local FIRST = 3 -- of ARGV: what the action takes

local function epoch_of(rebuild)
  return tonumber(string.match(rebuild or '', '^%d+')) or 0
end

local actions = {}

-- From now on no script call succeeds, whoever sends it: if the epoch is still the one seen.
function actions.fence()
  local seen = ARGV[FIRST]
  if redis.call('HGET', META, 'epoch') ~= seen then
    return 0
  end
  return redis.call('HDEL', META, 'epoch')
end

-- Empty the partition, unless a later rebuild has been here, or there is an epoch again: another
-- Redis has taken the fenced one's place, and what it has acknowledged is to be saved first.
function actions.begin()
  local meta = redis.call('HMGET', META, 'epoch', 'rebuilding')
  if meta[1] then
    return redis.error_reply('FENCED epoch ' .. meta[1] .. ' goes on here')
  end
  if epoch_of(meta[2]) >= epoch_of(token) then
    return redis.error_reply('FENCED a rebuild of epoch ' .. epoch_of(meta[2]))
  end
  redis.call('UNLINK', STOCK, RESERVATIONS, ORDERS, DEADLINES, JOURNAL, SEEN, SEEN_BEFORE, META)
  return redis.call('HSET', META, 'rebuilding', token)
end

function actions.hash()
  return redis.call('HSET', ARGV[FIRST], unpack(ARGV, FIRST + 1))
end

function actions.deadlines()
  return redis.call('ZADD', DEADLINES, unpack(ARGV, FIRST))
end

function actions.entry()
  return redis.call('XADD', JOURNAL, unpack(ARGV, FIRST))
end

function actions.open()
  return redis.call('HDEL', META, 'rebuilding')
end

if action ~= 'fence' and action ~= 'begin' then
  local now_rebuilding = redis.call('HGET', META, 'rebuilding')
  if now_rebuilding ~= token then
    return redis.error_reply('FENCED not this rebuild, but ' .. (now_rebuilding or 'none'))
  end
end
return actions[action]()
