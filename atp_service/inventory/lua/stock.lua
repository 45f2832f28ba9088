-- What a batch reads, changes and writes. Reads go through the batch's memory; changes are staged
-- per command and dropped if it fails; everything is written once, at the batch's end.
--
-- KEYS, all under one hash tag:
--   1 stock         hash    SKU ␟ location -> level; SKU -> its locations
--   2 reservations  hash    id -> document
--   3 orders        hash    order -> its reservations, and units sold before it was confirmed
--   4 deadlines     zset    r<reservation> or o<order> -> when it lapses or is forgotten
--   5 journal       stream  <seq>-0, gapless
--   6 seen          hash    what has been done in this window: e<event>, s<shipment>, k<key>
--   7 seen_before   hash    the window before
--   8 meta          hash    epoch, seq, digest, time, rotated_at, f<feed>
-- ARGV: epoch, 1 when promises are refused for memory, the window in ms, then the commands.
local STOCK, RESERVATIONS, ORDERS, DEADLINES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local JOURNAL, SEEN, SEEN_BEFORE, META = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local SEPARATOR = '\31'
local LARGEST = 9007199254740992 -- 2^53: beyond it a Lua number loses units
local SETTLED_DOCUMENTS_KEPT = 16

-- A reservation, a line and an order are arrays; these are the places in them.
local STATUS, GENERATION, CHANNEL, CUSTOMER, ORDER, CREATED_AT = 1, 2, 3, 4, 5, 6
local EXPIRES_AT, CLOSED_AT, FINGERPRINT, OUTCOME, SEQ, LINES = 7, 8, 9, 10, 11, 12
local LINE_ID, SKU, LOCATION, RESERVED, ALLOCATED = 1, 2, 3, 5, 6 -- 4: the quantity asked for
local FULFILLED, RELEASED, SAFETY_STOCK, LAPSED = 7, 8, 9, 10
local RESERVATION_IDS, EARLY = 1, 2

local pack, unpack_blob = cmsgpack.pack, cmsgpack.unpack
local format, min, max = string.format, math.min, math.max

local epoch, promises_refused, window_ms = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
local now, seq, digest, rotated_at

-- The batch's memory: what was read (false: known to be absent) and what is to be written.
local levels, reservations, orders, seen, locations = {}, {}, {}, {}, {}
local level_blobs, reservation_blobs, order_blobs = {}, {}, {}
local new_levels, new_reservations, new_orders, new_seen = {}, {}, {}, {}
local new_locations, new_deadlines, new_feeds, new_entries = {}, {}, {}, {}

-- The command in hand: what it has touched, in the order of touching, and what it gives notice of.
local staged_levels, staged_reservations, staged_orders, staged_names
local staged_deadlines, staged_seen, opened, settled

local function integer(number)
  return format('%.0f', number)
end

-- Forget what the command in hand has staged.
local function begin()
  staged_levels, staged_reservations, staged_orders, staged_names = {}, {}, {}, {}
  staged_deadlines, staged_seen, opened, settled = {}, {}, {}, {}
end

local function level_name(sku, location)
  return sku .. SEPARATOR .. location
end

local function split_name(name)
  local at = string.find(name, SEPARATOR, 1, true)
  return string.sub(name, 1, at - 1), string.sub(name, at + 1)
end

local function level_from(blob)
  if not blob then
    return false
  end
  local a = unpack_blob(blob)
  return {
    on_hand = a[1], reserved = a[2], allocated = a[3],
    version = a[4], moves = a[5], updated_at = a[6], extras = a[7],
  }
end

local function pack_level(level)
  local extras = level.extras
  if extras then
    if extras.states and not next(extras.states) then
      extras.states = nil
    end
    if extras.documents and not next(extras.documents) then
      extras.documents = nil
    end
    if next(extras) then
      return pack({ level.on_hand, level.reserved, level.allocated,
        level.version, level.moves, level.updated_at, extras })
    end
  end
  return pack({ level.on_hand, level.reserved, level.allocated,
    level.version, level.moves, level.updated_at })
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
  if level then
    return level
  end
  level = levels[name]
  if level == nil then
    level = level_from(redis.call('HGET', STOCK, name))
    levels[name] = level
  end
  return level
end

-- The level, to be changed: a copy until the command is known to succeed.
local function touch_level(name)
  local level = staged_levels[name]
  if not level then
    local known = level_of(name)
    if known then
      level = {
        on_hand = known.on_hand, reserved = known.reserved, allocated = known.allocated,
        version = known.version, moves = known.moves, extras = copy(known.extras),
        was = known.on_hand,
      }
    else
      level = { on_hand = 0, reserved = 0, allocated = 0, version = 0, moves = 0, was = 0 }
    end
    staged_levels[name] = level
    staged_names[#staged_names + 1] = 'l' .. name
  end
  return level
end

local function touch_extras(level)
  level.extras = level.extras or {}
  return level.extras
end

-- Units in a state that can't be sold. A state may be known too late: never below 0.
local function unavailable(level)
  local units = 0
  local states = level.extras and level.extras.states
  if states then
    for _, in_state in pairs(states) do
      units = units + max(0, in_state)
    end
  end
  return units
end

-- Units of a level that may be promised, `own` among them; the level's own safety stock wins.
local function available(name, of_channel, own)
  local level = level_of(name)
  if not level then
    return max(0, own - of_channel)
  end
  local safety_stock = level.extras and level.extras.safety_stock or of_channel
  local atf = level.on_hand - unavailable(level) - level.reserved - level.allocated
  return max(0, atf + own - safety_stock)
end

-- on_hand changes, unless a count taken later has seen these units already.
local function move_on_hand(level, units, occurred_at)
  local counted_at = level.extras and level.extras.counted_at
  if counted_at and occurred_at <= counted_at then
    return false
  end
  level.on_hand = level.on_hand + units
  level.moves = level.moves + 1
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
  if reservation then
    return reservation
  end
  reservation = reservations[id]
  if reservation == nil then
    local blob = redis.call('HGET', RESERVATIONS, id)
    reservation = blob and unpack_blob(blob)
    reservations[id], reservation_blobs[id] = reservation, blob
  end
  return reservation
end

local function put_reservation(id, reservation)
  if not staged_reservations[id] then
    staged_names[#staged_names + 1] = 'r' .. id
  end
  staged_reservations[id] = reservation
  return reservation
end

local function touch_reservation(id)
  return staged_reservations[id] or put_reservation(id, copy(reservation_of(id)))
end

local function order_of(id)
  local order = staged_orders[id]
  if order then
    return order
  end
  order = orders[id]
  if order == nil then
    local blob = redis.call('HGET', ORDERS, id)
    order = blob and unpack_blob(blob)
    orders[id] = order
  end
  return order
end

local function touch_order(id)
  local order = staged_orders[id]
  if not order then
    order = copy(order_of(id)) or { {}, {} }
    staged_orders[id] = order
    staged_names[#staged_names + 1] = 'o' .. id
  end
  return order
end

-- When a reservation or order is next to be looked at; false takes the deadline away.
local function set_deadline(member, at)
  staged_deadlines[member] = at
end

local function is_seen(key)
  local known = seen[key]
  if known == nil then
    known = redis.call('HEXISTS', SEEN, key) == 1 or redis.call('HEXISTS', SEEN_BEFORE, key) == 1
    seen[key] = known
  end
  return known
end

local function mark_seen(key)
  staged_seen[#staged_seen + 1] = key
end

local function event_key(command)
  return 'e' .. command.source .. SEPARATOR .. command.event_id
end

local function shipment_key(shipment_id, sku, location)
  return 's' .. shipment_id .. SEPARATOR .. sku .. SEPARATOR .. location
end

local function caller_key(command)
  local subject = command.reservation_id or level_name(command.sku, command.location)
  return 'k' .. command.type .. SEPARATOR .. subject .. SEPARATOR .. command.key
end

-- A feed has been heard of.
local function hear(command)
  local occurred_at = min(command.occurred_at_ms, now)
  new_feeds[command.source] = max(new_feeds[command.source] or 0, occurred_at)
end

-- A new level joins its SKU's list of locations.
local function index_level(name)
  local sku, location = split_name(name)
  local known = locations[sku]
  if not known then
    local blob = redis.call('HGET', STOCK, sku)
    known = blob and unpack_blob(blob) or {}
    locations[sku] = known
  end
  known[#known + 1] = location
  new_locations[sku] = known
end

-- The one place where stock changes: the entry that explains it, and all it has touched, together.
local function append_entry(kind, blob)
  local at = seq + 1
  local images, deltas, moved = {}, {}, false
  for _, prefixed in ipairs(staged_names) do
    local prefix, name = string.sub(prefixed, 1, 1), string.sub(prefixed, 2)
    local image
    if prefix == 'l' then
      local level = staged_levels[name]
      if level.on_hand > LARGEST or level.on_hand < -LARGEST then
        error('on_hand out of range')
      end
      level.version, level.updated_at = level.version + 1, now
      image = pack_level(level)
      local delta = level.on_hand - level.was
      deltas[#deltas + 1], moved = delta, moved or delta ~= 0
      if (level.was < 0) ~= (level.on_hand < 0) then
        local sku, location = split_name(name)
        local notices = level.on_hand < 0 and opened or settled
        notices[#notices + 1] = { 'negative-stock', sku, location, '', level.on_hand }
      end
    elseif prefix == 'r' then
      staged_reservations[name][SEQ] = at
      image = pack(staged_reservations[name])
    else
      image = pack(staged_orders[name])
    end
    images[#images + 1] = prefixed
    images[#images + 1] = image
  end
  local head
  if moved or #opened > 0 or #settled > 0 then
    head = pack({ epoch, now, kind, moved and deltas or {}, opened, settled })
  else
    head = pack({ epoch, now, kind })
  end
  local id = integer(at)
  local body = { digest, id, blob, head }
  local fields = { id .. '-0', 'c', blob, 'h', head }
  for _, part in ipairs(images) do
    body[#body + 1] = part
    fields[#fields + 1] = part
  end
  local next_digest = redis.sha1hex(table.concat(body, '\30'))
  fields[#fields + 1] = 'd'
  fields[#fields + 1] = next_digest

  -- From here on nothing can fail: the command has succeeded.
  seq, digest = at, next_digest
  new_entries[#new_entries + 1] = fields
  for i = 1, #images, 2 do
    local prefix, name = string.sub(images[i], 1, 1), string.sub(images[i], 2)
    if prefix == 'l' then
      local level = staged_levels[name]
      if level.version == 1 then
        index_level(name)
      end
      levels[name], level_blobs[name], new_levels[name] = level, images[i + 1], true
    elseif prefix == 'r' then
      reservations[name], reservation_blobs[name] = staged_reservations[name], images[i + 1]
      new_reservations[name] = true
    else
      orders[name], order_blobs[name], new_orders[name] = staged_orders[name], images[i + 1], true
    end
  end
  for member, due_at in pairs(staged_deadlines) do
    new_deadlines[member] = due_at
  end
  for _, key in ipairs(staged_seen) do
    seen[key], new_seen[key] = true, true
  end
  begin()
end
