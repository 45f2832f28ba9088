-- Deadlines: holds that lapse, and what is forgotten when its window has passed.
local NOTHING = {}
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
  reservation[STATUS], reservation[CLOSED_AT], reservation[KEPT_UNTIL] =
    'expired', now, now + window_ms
  local command = { type = 'lapse', reservation_id = id }
  append_entry(command, pack(command))
end

-- Closed reservations are forgotten, and with its last one an order; so are orders whose confirm is
-- no longer waited for. Stock has no part in it.
local function forget(reservation_ids, order_ids)
  begin()
  for _, id in ipairs(reservation_ids) do
    local order_id = reservation_of(id)[ORDER]
    if order_id ~= '' and order_of(order_id) then
      local order, kept = touch_order(order_id), {}
      for _, other in ipairs(order[RESERVATION_IDS]) do
        if other ~= id then
          kept[#kept + 1] = other
        end
      end
      order[RESERVATION_IDS] = kept
      if #kept == 0 then
        put_order(order_id, false)
      end
    end
    put_reservation(id, false)
  end
  for _, id in ipairs(order_ids) do
    put_order(id, false)
  end
  local command = { type = 'forget', reservation_ids = reservation_ids, order_ids = order_ids }
  append_entry(command, pack(command))
end

-- The confirm of an order, of which units were sold before it, is not waited for any more.
local function is_abandoned(order)
  return #order[RESERVATION_IDS] == 0 and order[ORDER_KEPT_UNTIL] <= now
end

-- The order as of now: one that is no longer waited for is forgotten before anything is staged.
local function order_now(id)
  local order = order_of(id)
  if order and is_abandoned(order) then
    forget(NOTHING, { id })
  end
  return order_of(id)
end

-- The reservation as of now: a deadline that has passed counts, whether or not it was reaped.
local function reservation_now(id)
  local reservation = reservation_of(id)
  if reservation and has_lapsed(reservation, now) then
    lapse(id)
  elseif reservation and is_forgotten(reservation, now) then
    forget({ id }, NOTHING)
  end
  return reservation_of(id)
end

-- What a deadline means depends on what stands behind it now: a deadline that does not fit was
-- changed by hand. Ids to be forgotten are added to the lists.
local function meet_deadline(member, reservation_ids, order_ids)
  local id = string.sub(member, 2)
  if string.sub(member, 1, 1) == 'o' then
    local order = order_of(id)
    if order and is_abandoned(order) then
      order_ids[#order_ids + 1] = id
    else
      new_deadlines[member] = order and order_due_at(order)
    end
    return
  end
  local reservation = reservation_of(id)
  if not reservation then
    new_deadlines[member] = false
  elseif has_lapsed(reservation, now) then
    lapse(id)
  elseif is_forgotten(reservation, now) then
    order_of(reservation[ORDER]) -- a damaged one fails here, where it fails this one alone
    reservation_ids[#reservation_ids + 1] = id
  else
    new_deadlines[member] = reservation_due_at(reservation)
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

-- Reap what is due, earliest first, at most `limit` and until the call has done enough. Returns how
-- many, and whether more are due. All that is forgotten makes one entry.
local function reap(limit)
  due = due or read_due()
  local reaped, reservation_ids, order_ids = 0, {}, {}
  while reaped < limit and due_place < #due and work < WORK_A_CALL do
    due_place = due_place + 1
    local member = due[due_place]
    -- The batch may have moved the deadline since: what it has in hand decides.
    if new_deadlines[member] == nil then
      if not pcall(meet_deadline, member, reservation_ids, order_ids) then
        -- Something behind it is damaged. No caller waits for that: it is looked at later.
        begin()
        new_deadlines[member] = now + DAMAGED_REST_MS
      end
      reaped = reaped + 1
    end
  end
  if reservation_ids[1] or order_ids[1] then
    forget(reservation_ids, order_ids)
  end
  -- All that was read is met: there may be more that was not read.
  return reaped, due_place < #due or #due == DUE_READ
end

-- Before a promise is refused: give back what has lapsed. Returns whether more are due.
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

local function forget_some(command)
  local reservation_ids, order_ids = {}, {}
  for _, id in ipairs(command.reservation_ids) do
    local reservation = reservation_of(id)
    if reservation and is_forgotten(reservation, now) then
      reservation_ids[#reservation_ids + 1] = id
    end
  end
  for _, id in ipairs(command.order_ids) do
    local order = order_of(id)
    if order and is_abandoned(order) then
      order_ids[#order_ids + 1] = id
    end
  end
  if reservation_ids[1] or order_ids[1] then
    forget(reservation_ids, order_ids)
  end
  return { 'unchanged' }
end
