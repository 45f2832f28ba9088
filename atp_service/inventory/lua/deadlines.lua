-- Deadlines: holds that lapse, and what is forgotten when its window has passed.
local due, due_place, reaped_for_promises = nil, 0, 0

-- The deadline has passed: units go back; the lines stay, for a late confirm.
local function lapse(id)
  begin()
  local reservation = touch_reservation(id)
  for _, line in ipairs(reservation[LINES]) do
    if line[RESERVED] > 0 then
      local level = touch_level(level_name(line[SKU], line[LOCATION]))
      level[LEVEL_RESERVED] = level[LEVEL_RESERVED] - line[RESERVED]
      line[LAPSED], line[RESERVED] = line[RESERVED], 0
    end
  end
  reservation[STATUS], reservation[CLOSED_AT] = 'expired', now
  set_deadline('r' .. id, now + window_ms)
  append_entry('lapse', pack({ type = 'lapse', reservation_id = id }))
end

-- A closed reservation is forgotten, and with its last one the order. Stock has no part in it.
local function forget_reservation(id)
  local reservation = reservation_of(id)
  local order_id = reservation[ORDER]
  local order = order_id ~= '' and order_of(order_id)
  if order then
    local kept = {}
    for _, other in ipairs(order[RESERVATION_IDS]) do
      if other ~= id then
        kept[#kept + 1] = other
      end
    end
    orders[order_id] = #kept > 0 and { kept, order[EARLY] } or false
    new_orders[order_id] = #kept > 0 and pack(orders[order_id])
  end
  reservations[id], new_reservations[id] = false, false
  new_deadlines['r' .. id] = false
end

-- Units sold for an order that was never confirmed here are no longer waited for.
local function forget_order(id)
  orders[id], new_orders[id] = false, false
  new_deadlines['o' .. id] = false
end

local function has_lapsed(reservation)
  return reservation[STATUS] == 'held' and reservation[EXPIRES_AT] <= now
end

local function is_forgotten(reservation)
  local status = reservation[STATUS]
  return status ~= 'held' and status ~= 'confirmed' and reservation[CLOSED_AT] + window_ms <= now
end

-- The reservation as of now: a deadline that has passed counts, whether or not it was reaped.
local function reservation_now(id)
  local reservation = reservation_of(id)
  if reservation and has_lapsed(reservation) then
    lapse(id)
  elseif reservation and is_forgotten(reservation) then
    forget_reservation(id)
  end
  return reservation_of(id)
end

-- What a deadline means depends on what stands behind it now.
local function meet_deadline(member)
  local id = string.sub(member, 2)
  if string.sub(member, 1, 1) == 'o' then
    local order = order_of(id)
    if order and #order[RESERVATION_IDS] > 0 then
      new_deadlines[member] = false
      return
    end
    return forget_order(id)
  end
  local reservation = reservation_of(id)
  if not reservation or reservation[STATUS] == 'confirmed' then
    new_deadlines[member] = false
  elseif has_lapsed(reservation) then
    lapse(id)
  elseif is_forgotten(reservation) then
    forget_reservation(id)
  else
    new_deadlines[member] = reservation[STATUS] == 'held' and reservation[EXPIRES_AT]
      or reservation[CLOSED_AT] + window_ms
  end
end

-- What is due, earliest first, and the reservations behind it; read once per batch.
local function read_due()
  local until_now = integer(now)
  local found = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', until_now, 'LIMIT', 0, DUE_READ)
  local ids = {}
  for i = 1, #found do
    if string.sub(found[i], 1, 1) == 'r' then
      ids[#ids + 1] = string.sub(found[i], 2)
    end
  end
  read_reservations(ids)
  return found
end

-- Reap what is due, earliest first, at most `limit` and until the call has done enough; answers how
-- many, and whether more are due.
local function reap(limit)
  due = due or read_due()
  local reaped = 0
  while reaped < limit and due_place < #due and work < WORK_A_CALL do
    due_place = due_place + 1
    local member = due[due_place]
    -- The batch may have moved the deadline since: what it has in hand decides.
    if new_deadlines[member] == nil then
      if not pcall(meet_deadline, member) then
        -- Something behind it is damaged. Nobody waits for that: it is looked at again later.
        begin()
        new_deadlines[member] = now + DAMAGED_REST_MS
      end
      reaped = reaped + 1
    end
  end
  -- All that was read is met: there may be more that was not read.
  return reaped, due_place < #due or #due == DUE_READ
end

-- Before a promise is refused: give back what has lapsed. Answers whether more are due.
local function reap_for_promise()
  local reaped, more = reap(REAPED_FOR_PROMISES - reaped_for_promises)
  reaped_for_promises = reaped_for_promises + reaped
  return more
end

local function expire(command)
  local reaped, more = reap(command.limit)
  return { 'swept', reaped, more and 'more' or '' }
end

local function lapse_one(command)
  reservation_now(command.reservation_id)
  return { 'unchanged' }
end
