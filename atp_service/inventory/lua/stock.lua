-- What a batch reads, changes and writes. Reads go through the batch's memory; changes are staged
-- per command and dropped if it fails; everything is written once, at the batch's end.
--
-- KEYS, all under one hash tag:
--   1 stock         hash    SKU ␟ location -> level; SKU -> its locations
--   2 reservations  hash    id -> document
--   3 orders        hash    order -> its reservations, and units sold before it was confirmed
--   4 deadlines     zset    r<reservation> or o<order> -> when it lapses or is forgotten
--   5 journal       stream  <seq>-0, gapless
--   6 seen          hash    marks of this window: e<event>, s<shipment>, k<caller's key>
--   7 seen_before   hash    the window before
--   8 meta          hash    format, epoch, seq, digest, time, rotated_at, f:<feed>
-- ARGV: epoch, the formats that the caller can write, 1 if promises are refused for memory, the
-- window in ms, then the commands.
--
-- An entry tells everything that its command changed. Two things are outside of it: when a feed was
-- last heard (f:<feed>; a heartbeat writes no entry), and when the window was rotated.
local STOCK, RESERVATIONS, ORDERS, DEADLINES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local JOURNAL, SEEN, SEEN_BEFORE, META = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local SEPARATOR = '\31'

local pack, unpack_blob = cmsgpack.pack, cmsgpack.unpack
local format, find, byte = string.format, string.find, string.byte
local min, max = math.min, math.max
local concat = table.concat

local epoch, formats = tonumber(ARGV[1]), ARGV[2]
local promises_refused, window_ms = ARGV[3] == '1', tonumber(ARGV[4])
local FIRST_COMMAND = 5
local GONE = pack(nil)
local now, seq, digest, rotated_at

-- The batch's memory: what was read (false: known to be absent) and what is to be written: packed,
-- or false for what goes.
local levels, reservations, orders, seen, locations = {}, {}, {}, {}, {}
local reservation_blobs = {}
local new_levels, new_reservations, new_orders, new_seen = {}, {}, {}, {}
local new_locations, new_deadlines, new_feeds, new_entries = {}, {}, {}, {}
local plain_heads = {}
local work = 0 -- lines and levels changed so far

-- The command in hand: what it has touched (false: gone), in the order of touching, what it marks
-- as seen, and what it gives notice of.
local staged_levels, staged_reservations, staged_orders = {}, {}, {}
local touched_levels, were_on_hand, touched_reservations, touched_orders = {}, {}, {}, {}
local staged_seen, opened, settled, noted = {}, {}, {}, {}

local made_shapes

local function unpack_as(shape, blob)
  made_shapes = made_shapes or validation()
  return made_shapes[shape](blob)
end

-- A plain level is most of what is read: its numbers are looked at here, which needs no shapes.
local function unpack_level(blob)
  local level, more = unpack_blob(blob)
  if more ~= nil or level[EXTRAS] ~= nil then
    return unpack_as('level', blob)
  end
  for place = ON_HAND, UPDATED_AT do
    local number = level[place]
    if not (number >= -LARGEST and number <= LARGEST and number % 1 == 0) then
      error('damaged: not a whole number')
    end
  end
  return level
end

local function integer(number)
  return format('%d', number)
end

-- Emptied rather than made anew: a batch has many commands, and a table costs more than its use.
local function empty(list)
  for place = #list, 1, -1 do
    list[place] = nil
  end
end

local function drop(staged, touched)
  for place = #touched, 1, -1 do
    staged[touched[place]], touched[place] = nil, nil
  end
end

-- Drop what the command in hand has staged. Most commands stage no more than the first two.
local function begin()
  drop(staged_levels, touched_levels)
  drop(staged_reservations, touched_reservations)
  if touched_orders[1] or staged_seen[1] or opened[1] or settled[1] or noted[1] then
    drop(staged_orders, touched_orders)
    empty(staged_seen)
    empty(opened)
    empty(settled)
    empty(noted)
  end
end

local function level_name(sku, location)
  return sku .. SEPARATOR .. location
end

local function split_name(name)
  local at = find(name, SEPARATOR, 1, true)
  return string.sub(name, 1, at - 1), string.sub(name, at + 1)
end

-- How msgpack begins an array of so many.
local function array_of(count)
  return string.char(220, math.floor(count / 256), count % 256)
end

local function pack_level(level)
  local extras = level[EXTRAS]
  if extras then
    if extras.states and not next(extras.states) then
      extras.states = nil
    end
    if extras.documents and not next(extras.documents) then
      extras.documents = nil
    end
    if not next(extras) then
      level[EXTRAS] = nil
    end
  end
  return pack(level)
end

local function copy(value)
  if type(value) ~= 'table' then
    return value
  end
  local twin = {}
  for k, v in pairs(value) do
    twin[k] = copy(v)
  end
  return twin
end

-- The level as the command in hand sees it, or false where there is none.
local function level_of(name)
  local level = staged_levels[name]
  if level ~= nil then
    return level
  end
  level = levels[name]
  if level == nil then
    local blob = redis.call('HGET', STOCK, name)
    level = blob and unpack_level(blob)
    levels[name] = level
  end
  return level
end

-- The command in hand leaves the level so; false takes it away.
local function put_level(name, level)
  local place = #touched_levels + 1
  staged_levels[name], touched_levels[place] = level, name
  were_on_hand[place] = level and level[ON_HAND]
end

-- The level, to be changed: a copy until the command is known to succeed.
local function touch_level(name)
  local level = staged_levels[name]
  if not level then
    local a = level_of(name)
    level = a and { a[1], a[2], a[3], a[4], a[5], a[6], a[7] and copy(a[7]) }
      or { 0, 0, 0, 0, 0, 0 }
    put_level(name, level)
  end
  return level
end

local function touch_extras(level)
  level[EXTRAS] = level[EXTRAS] or {}
  return level[EXTRAS]
end

-- Units in a state that can't be sold. A state may be known too late: never below 0.
local function unavailable(level)
  local units = 0
  local states = level[EXTRAS] and level[EXTRAS].states
  if states then
    for _, in_state in pairs(states) do
      units = units + max(0, in_state)
    end
  end
  return units
end

-- Units of a level that may be promised; the level's own safety stock wins over the channel's.
local function available(name, of_channel)
  local level = level_of(name)
  if not level then
    return 0
  end
  local safety_stock = level[EXTRAS] and level[EXTRAS].safety_stock or of_channel
  local atf = level[ON_HAND] - unavailable(level) - level[LEVEL_RESERVED] - level[LEVEL_ALLOCATED]
  return max(0, atf - safety_stock)
end

-- on_hand changes, unless a count taken later has seen these units already. Nothing happened later
-- than it was reported; what has no time of its own happens now, after all that came before it.
local function move_on_hand(level, units, occurred_at)
  local counted_at = level[EXTRAS] and level[EXTRAS].counted_at
  if counted_at and occurred_at and min(occurred_at, now) <= counted_at then
    return false
  end
  level[ON_HAND] = level[ON_HAND] + units
  level[MOVES] = level[MOVES] + 1
  return true
end

-- Units enter (or leave, below 0) an unavailable state.
local function change_state(level, name, state, units)
  local extras = touch_extras(level)
  extras.states = extras.states or {}
  local before = extras.states[state] or 0
  local after = before + units
  extras.states[state] = after ~= 0 and after or nil
  local sku, location = split_name(name)
  if before >= 0 and after < 0 then
    opened[#opened + 1] = { 'negative-state', sku, location, state, after }
  elseif before < 0 and after >= 0 then
    settled[#settled + 1] = { 'negative-state', sku, location, state, after }
  end
end

local function reservation_of(id)
  local reservation = staged_reservations[id]
  if reservation ~= nil then
    return reservation
  end
  reservation = reservations[id]
  if reservation == nil then
    local blob = redis.call('HGET', RESERVATIONS, id)
    reservation = blob and unpack_as('reservation', blob)
    reservations[id], reservation_blobs[id] = reservation, blob
  end
  return reservation
end

-- Read several reservations at once, as far as the batch doesn't know them. A damaged one stays
-- unknown: whoever needs it reads it again, and fails by itself.
local function read_reservations(ids)
  local wanted = {}
  for i = 1, #ids do
    if reservations[ids[i]] == nil then
      reservations[ids[i]] = false
      wanted[#wanted + 1] = ids[i]
    end
  end
  for from = 1, #wanted, VALUES_AT_ONCE do
    local to = min(from + VALUES_AT_ONCE - 1, #wanted)
    local blobs = redis.call('HMGET', RESERVATIONS, unpack(wanted, from, to))
    for i = 1, #blobs do
      local id, blob = wanted[from + i - 1], blobs[i]
      if blob then
        local sound, reservation = pcall(unpack_as, 'reservation', blob)
        reservations[id], reservation_blobs[id] = sound and reservation or nil, blob
      end
    end
  end
end

-- The command in hand leaves the reservation so; false takes it away.
local function put_reservation(id, reservation)
  if staged_reservations[id] == nil then
    touched_reservations[#touched_reservations + 1] = id
  end
  staged_reservations[id] = reservation
  return reservation
end

local function touch_reservation(id)
  if staged_reservations[id] then
    return staged_reservations[id]
  end
  local twin, lines = { unpack(reservation_of(id)) }, {}
  for i = 1, #twin[LINES] do
    lines[i] = { unpack(twin[LINES][i]) }
  end
  twin[LINES] = lines
  return put_reservation(id, twin)
end

local function order_of(id)
  local order = staged_orders[id]
  if order ~= nil then
    return order
  end
  order = orders[id]
  if order == nil then
    local blob = redis.call('HGET', ORDERS, id)
    order = blob and unpack_as('order', blob)
    orders[id] = order
  end
  return order
end

-- The command in hand leaves the order so; false takes it away.
local function put_order(id, order)
  if staged_orders[id] == nil then
    touched_orders[#touched_orders + 1] = id
  end
  staged_orders[id] = order
end

local function touch_order(id)
  local order = staged_orders[id]
  if not order then
    order = copy(order_of(id)) or { {}, {}, 0 }
    put_order(id, order)
  end
  return order
end

local function is_seen(key)
  local known = seen[key]
  if known == nil then
    known = redis.call('HEXISTS', SEEN, key) == 1 or redis.call('HEXISTS', SEEN_BEFORE, key) == 1
    seen[key] = known
  end
  return known
end

-- What the command does not imply: an event's own mark follows from its source and id.
local function mark_seen(key)
  staged_seen[#staged_seen + 1] = key
end

local function event_key(command)
  return 'e' .. command.source .. SEPARATOR .. command.event_id
end

-- `holder` is the reservation or order that the units are for: a truck carries many orders.
local function shipment_key(shipment_id, sku, location, holder)
  return 's' .. shipment_id .. SEPARATOR .. sku .. SEPARATOR .. location .. SEPARATOR .. holder
end

-- `reservation` is the one that the command is about, if any: an id used again begins anew.
local function caller_key(command, reservation)
  local subject = reservation
    and command.reservation_id .. SEPARATOR .. integer(reservation[CREATED_AT])
    or level_name(command.sku, command.location)
  return 'k' .. command.type .. SEPARATOR .. subject .. SEPARATOR .. command.key
end

-- A feed has been heard of.
local function hear(command)
  local occurred_at = min(command.occurred_at_ms, now)
  new_feeds[command.source] = max(new_feeds[command.source] or 0, occurred_at)
end

local function locations_of(sku)
  local known = locations[sku]
  if not known then
    local blob = redis.call('HGET', STOCK, sku)
    known = blob and unpack_as('locations', blob) or {}
    locations[sku] = known
  end
  return known
end

-- Whether a text comes first by its bytes. Lua's own comparison asks the server's locale.
local function is_before(a, b)
  for place = 1, min(#a, #b) do
    local x, y = byte(a, place), byte(b, place)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- A new level joins its SKU's list of locations, which is in order. The location may stand there: a
-- level that was deleted by hand leaves its place.
local function index_level(name)
  local sku, location = split_name(name)
  local known = locations_of(sku)
  local place = 1
  while known[place] and is_before(known[place], location) do
    place = place + 1
  end
  if known[place] ~= location then
    table.insert(known, place, location)
    new_locations[sku] = known
  end
end

-- on_hand falls below 0, or is there again.
local function note_sign(name, was, on_hand)
  if (was < 0) ~= (on_hand < 0) then
    local sku, location = split_name(name)
    local notices = on_hand < 0 and opened or settled
    notices[#notices + 1] = { 'negative-stock', sku, location, '', on_hand }
  end
end

-- A touched level as it will be kept: one version on, and within what a number can carry. Returns
-- its image, and whether on_hand has changed.
local function finish_level(place)
  local name = touched_levels[place]
  local level, was = staged_levels[name], were_on_hand[place]
  if not level then
    return GONE, false
  end
  local on_hand = level[ON_HAND]
  if on_hand > LARGEST or on_hand < -LARGEST then
    error('on_hand out of range')
  end
  note_sign(name, was, on_hand)
  level[VERSION], level[UPDATED_AT] = level[VERSION] + 1, now
  if level[VERSION] == 1 then
    locations_of((split_name(name))) -- a damaged list fails the command here, while it can fail
  end
  return pack_level(level), on_hand ~= was
end

-- Most entries of a batch have the same head but for their kind.
local function pack_head(type, status, moved)
  if moved or status or opened[1] or settled[1] or noted[1] or staged_seen[1] then
    local deltas = {}
    for i = 1, moved and #touched_levels or 0 do
      deltas[i] = staged_levels[touched_levels[i]][ON_HAND] - were_on_hand[i]
    end
    local head = { epoch, now, type, RULES, deltas, opened, settled }
    if status or staged_seen[1] then
      head[8], head[9] = noted, status or ''
      head[10] = staged_seen[1] and staged_seen
    elseif noted[1] then
      head[8] = noted
    end
    return pack(head)
  end
  plain_heads[type] = plain_heads[type] or pack({ epoch, now, type, RULES })
  return plain_heads[type]
end

-- The one place where stock changes: the entry that explains it, and all it has touched, together.
-- Its body is one msgpack array, strung together from what is packed already. `status` is
-- 'absorbed' if a fact has changed no stock.
local function append_entry(command, blob, status)
  local at, moved = seq + 1, false
  local parts, size = { '', blob, '', nil, nil, nil, nil }, 3
  for i = 1, #touched_levels do
    local image, has_moved = finish_level(i)
    parts[size + 1], parts[size + 2] = pack('l' .. touched_levels[i]), image
    size, moved = size + 2, moved or has_moved
  end
  for i = 1, #touched_reservations do
    local id = touched_reservations[i]
    local reservation = staged_reservations[id]
    if reservation then
      reservation[SEQ] = at
    end
    parts[size + 1] = pack('r' .. id)
    parts[size + 2] = reservation and pack(reservation) or GONE
    size = size + 2
  end
  for i = 1, #touched_orders do
    local id = touched_orders[i]
    parts[size + 1] = pack('o' .. id)
    parts[size + 2] = staged_orders[id] and pack(staged_orders[id]) or GONE
    size = size + 2
  end
  parts[1], parts[3] = array_of(size - 1), pack_head(command.type, status, moved)
  work = work + #touched_levels
  local id, body = format('%d-0', at), concat(parts)
  local next_digest = redis.sha1hex(digest .. id .. body)

  -- From here on nothing can fail: the command has succeeded. What was staged is what the next
  -- command of the batch sees, and what will be written.
  size = 3
  for i = 1, #touched_levels do
    local name = touched_levels[i]
    local level = staged_levels[name]
    if level and level[VERSION] == 1 then
      index_level(name)
    end
    size = size + 2
    levels[name], new_levels[name] = level, level and parts[size]
  end
  for i = 1, #touched_reservations do
    local name = touched_reservations[i]
    local reservation = staged_reservations[name]
    size, work = size + 2, work + (reservation and #reservation[LINES] or 0)
    reservations[name], new_reservations[name] = reservation, reservation and parts[size]
    new_deadlines['r' .. name] = reservation and reservation_due_at(reservation)
  end
  for i = 1, #touched_orders do
    local name = touched_orders[i]
    local order = staged_orders[name]
    size = size + 2
    orders[name], new_orders[name] = order, order and parts[size]
    new_deadlines['o' .. name] = order and order_due_at(order)
  end
  if command.event_id then
    local key = event_key(command)
    seen[key], new_seen[key] = true, true
  end
  for i = 1, #staged_seen do
    seen[staged_seen[i]], new_seen[staged_seen[i]] = true, true
  end
  local place = #new_entries
  new_entries[place + 1], new_entries[place + 2], new_entries[place + 3] = id, body, next_digest
  seq, digest = at, next_digest
  begin()
end
