-- One batch: read ahead, decide each command by itself, write everything once.
local HANDLERS = {
  hold = hold, replace = replace, extend = extend, confirm = confirm, release = release,
  expire = expire, lapse = lapse_one, forget = forget_some,
}

-- A family's functions are made when its first command comes: a call makes all its functions anew,
-- and to make those it doesn't need was a fifth of what a call of one hold cost.
local FAMILIES = {
  fulfil = fulfilment, no_pick = fulfilment, sale = fulfilment, shipment = fulfilment,
  ['return'] = facts, receipt = facts, transfer_shipped = facts, transfer_received = facts,
  adjustment = facts, count = facts, state_change = facts, incoming = facts,
  heartbeat = facts, safety_stock = facts, park = facts,
  snapshot = facts, snapshot_closed = facts,
  repair_level = repair, repair_reservation = repair, repair_order = repair,
}

local function handler_of(type)
  if not HANDLERS[type] then
    for name, handler in pairs(FAMILIES[type]()) do
      HANDLERS[name] = handler
    end
  end
  return HANDLERS[type]
end

local function each_slice(values, call)
  for from = 1, #values, VALUES_AT_ONCE do
    call(unpack(values, from, min(from + VALUES_AT_ONCE - 1, #values)))
  end
end

-- Keys of a kind, without repeats.
local function note(names, name, known)
  if known[name] == nil then
    known[name] = false
    names[#names + 1] = name
  end
end

-- Read what the commands will ask for, a call per kind instead of a call per command.
local function read_ahead(commands)
  local level_names, ids, keys = {}, {}, {}
  local function note_command(command)
    ids[#ids + 1] = command.reservation_id
    if command.event_id then
      note(keys, event_key(command), seen)
      if command.sku and command.location then
        note(level_names, level_name(command.sku, command.location), levels)
      end
    elseif command.type == 'hold' or command.type == 'replace' then
      local lines = command.lines
      for i = 1, #lines do
        note(level_names, level_name(lines[i].sku, lines[i].location), levels)
      end
    end
  end
  for _, command in ipairs(commands) do
    pcall(note_command, command) -- one that can't be read fails by itself, when its turn comes
  end
  local place = 0
  each_slice(level_names, function(...)
    local blobs = redis.call('HMGET', STOCK, ...)
    for i = 1, #blobs do
      if blobs[i] then
        -- A damaged level stays unknown: whoever needs it reads it again, and fails by itself.
        local sound, level = pcall(unpack_level, blobs[i])
        levels[level_names[place + i]] = sound and level or nil
      end
    end
    place = place + VALUES_AT_ONCE
  end)
  read_reservations(ids)
  for _, window in ipairs({ SEEN, SEEN_BEFORE }) do
    place = 0
    each_slice(keys, function(...)
      local marks = redis.call('HMGET', window, ...)
      for i = 1, #marks do
        local key = keys[place + i]
        seen[key] = seen[key] or marks[i] ~= false
      end
      place = place + VALUES_AT_ONCE
    end)
  end
end

-- The window of what has been seen moves on: two hashes, so that nothing is walked.
local function rotate_seen()
  if now - rotated_at < window_ms then
    return
  end
  redis.call('UNLINK', SEEN_BEFORE)
  if redis.call('EXISTS', SEEN) == 1 then
    redis.call('RENAME', SEEN, SEEN_BEFORE)
  end
  rotated_at = now
  redis.call('HSET', META, 'rotated_at', integer(now))
end

-- Commands about a reservation that must exist: their handlers get it as it is now.
local OF_RESERVATION = {
  replace = true, extend = true, confirm = true, release = true, fulfil = true, no_pick = true,
}

-- A fact happens once. A message that is parked doesn't make its feed any fresher.
local function is_repeated_fact(command)
  if command.type ~= 'heartbeat' and is_seen(event_key(command)) then
    return true
  end
  if command.type ~= 'park' then
    hear(command)
  end
  return false
end

-- Decide one command: what is known before it is the same for all of a kind.
local function apply(command, blob)
  if command.event_id and is_repeated_fact(command) then
    return { 'duplicate' }
  end
  local known = OF_RESERVATION[command.type] and reservation_now(command.reservation_id)
  if known == false then
    return { 'not_found' }
  end
  if command.key and is_seen(caller_key(command, known)) then
    return known and answer('repeated', command.reservation_id) or { 'unchanged' }
  end
  return handler_of(command.type)(command, blob, known)
end

local function write_hash(key, blobs)
  local values, size, gone = {}, 0, {}
  for name, blob in pairs(blobs) do
    if blob then
      values[size + 1], values[size + 2] = name, blob
      size = size + 2
    else
      gone[#gone + 1] = name
    end
  end
  each_slice(values, function(...)
    redis.call('HSET', key, ...)
  end)
  each_slice(gone, function(...)
    redis.call('HDEL', key, ...)
  end)
end

local function write_deadlines()
  local values, size, gone = {}, 0, {}
  for member, at in pairs(new_deadlines) do
    if at then
      values[size + 1], values[size + 2] = at, member
      size = size + 2
    else
      gone[#gone + 1] = member
    end
  end
  each_slice(values, function(...)
    redis.call('ZADD', DEADLINES, ...)
  end)
  each_slice(gone, function(...)
    redis.call('ZREM', DEADLINES, ...)
  end)
end

local function write_feeds()
  for feed, occurred_at in pairs(new_feeds) do
    local before = redis.call('HGET', META, 'f:' .. feed)
    local latest = max(occurred_at, before and tonumber(string.match(before, '^%d+')) or 0)
    redis.call('HSET', META, 'f:' .. feed, integer(latest) .. ':' .. integer(now))
  end
end

-- Entries first: if Redis has no memory left it says so here, before anything is written.
local function write()
  for i = 1, #new_entries, 3 do
    redis.call('XADD', JOURNAL, new_entries[i], 'e', new_entries[i + 1], 'd', new_entries[i + 2])
  end
  local marks = {}
  for key in pairs(new_seen) do
    marks[#marks + 1] = key
    marks[#marks + 1] = ''
  end
  each_slice(marks, function(...)
    redis.call('HSET', SEEN, ...)
  end)
  for sku, known in pairs(new_locations) do
    if #known > 0 then
      redis.call('HSET', STOCK, sku, pack(known))
    else
      redis.call('HDEL', STOCK, sku)
    end
  end
  write_hash(STOCK, new_levels)
  write_hash(RESERVATIONS, new_reservations)
  write_hash(ORDERS, new_orders)
  write_deadlines()
  write_feeds()
  if #new_entries > 0 then
    redis.call('HSET', META, 'seq', integer(seq), 'digest', digest, 'time', integer(now))
  end
end

local meta = redis.call('HMGET', META, 'epoch', 'seq', 'digest', 'time', 'rotated_at', 'format')
if tonumber(meta[1] or 0) ~= epoch then
  return redis.error_reply('FENCED epoch ' .. (meta[1] or 'none'))
end
if not find(',' .. formats .. ',', ',' .. (meta[6] or 'none') .. ',', 1, true) then
  return redis.error_reply('FORMAT ' .. (meta[6] or 'none'))
end
seq, digest = tonumber(meta[2]), meta[3]
rotated_at = tonumber(meta[5])
now = max(clock(), tonumber(meta[4]), rotated_at)
rotate_seen()

local commands, replies = {}, {}
for i = FIRST_COMMAND, #ARGV do
  local decoded, command = pcall(unpack_blob, ARGV[i])
  commands[i - FIRST_COMMAND + 1] = decoded and type(command) == 'table' and command or {}
end
begin()
read_ahead(commands)
for i = 1, #commands do
  local succeeded, reply = pcall(apply, commands[i], ARGV[i + FIRST_COMMAND - 1])
  if not succeeded then
    begin()
    reply = { 'faulted', 0, type(reply) == 'table' and reply.err or tostring(reply) }
  end
  replies[i] = reply
end
write()
return replies
