-- Units of reservations leave: fulfil, no-pick, and sales and shipments that name what they fulfil.

-- The lines a fulfil means. A shipment leaves once: what it has taken before is not meant again,
-- nor what was told of it before the confirm, when only the order was known: that has left already.
local function lines_to_fulfil(command, reservation)
  local shipped, wanted = {}, {}
  for _, line in ipairs(reservation[LINES]) do
    local from = command.location or line[LOCATION]
    local id = command.shipment_id
    shipped[line[LINE_ID]] = id
      and (is_seen(shipment_key(id, line[SKU], from, command.reservation_id))
        or line[FULFILLED] > 0 and is_seen(shipment_key(id, line[SKU], from, reservation[ORDER])))
    if not command.lines and line[ALLOCATED] > 0 and not shipped[line[LINE_ID]] then
      wanted[#wanted + 1] = { line_id = line[LINE_ID], quantity = line[ALLOCATED] }
    end
  end
  for _, line in ipairs(command.lines or {}) do
    if not shipped[line.line_id] then
      wanted[#wanted + 1] = line
    end
  end
  return wanted
end

local function fulfil(command, blob, known)
  local id = command.reservation_id
  if known[STATUS] ~= 'confirmed' and known[STATUS] ~= 'fulfilled' then
    return answer('wrong_status', id)
  end
  local wanted = lines_to_fulfil(command, known)
  if #wanted == 0 then
    return answer('repeated', id)
  end
  local units, excesses = chosen(known, wanted)
  if not units then
    return { 'quantity_not_open', 0, pack(excesses) }
  end
  local reservation = touch_reservation(id)
  for i, line in ipairs(reservation[LINES]) do
    if units[i] > 0 then
      local from = command.location or line[LOCATION]
      take_off(line, units[i], FULFILLED)
      move_on_hand(touch_level(level_name(line[SKU], from)), -units[i])
      if command.shipment_id then
        mark_seen(shipment_key(command.shipment_id, line[SKU], from, id))
      end
    end
  end
  close_when_done(reservation)
  return settle('changed', command, blob)
end

-- What the store's reason makes of units it can't hand over: gone, or there but not to be sold.
local NO_PICK_STATES = {
  mismatch = 'quarantine', damaged = 'damaged', display_worn = 'display_worn',
}

local function no_pick(command, blob, known)
  local id = command.reservation_id
  if known[STATUS] ~= 'confirmed' and known[STATUS] ~= 'held' then
    return answer('wrong_status', id)
  end
  local wanted = { { line_id = command.line_id, quantity = command.quantity } }
  local units, excesses = chosen(known, wanted)
  if not units then
    return { 'quantity_not_open', 0, pack(excesses) }
  end
  local reservation = touch_reservation(id)
  for i, line in ipairs(reservation[LINES]) do
    if units[i] > 0 then
      take_off(line, units[i], RELEASED)
      local name = level_name(line[SKU], line[LOCATION])
      local level = touch_level(name)
      if command.reason == 'not_in_stock' then
        move_on_hand(level, -units[i])
      else
        change_state(level, name, NO_PICK_STATES[command.reason], units[i])
      end
    end
  end
  close_when_done(reservation)
  return settle('changed', command, blob)
end

-- The reservations a fact names, as of now: its own, else its order's.
local function named_reservations(command)
  if command.reservation_id and reservation_now(command.reservation_id) then
    return { command.reservation_id }
  end
  local order = command.order_id and order_now(command.order_id)
  local ids = {}
  for _, id in ipairs(order and order[RESERVATION_IDS] or {}) do
    if reservation_now(id) then
      ids[#ids + 1] = id
    end
  end
  return ids
end

-- Under what a fact's shipment is remembered: the reservations it is for, else what it names: one
-- truck carries goods for many.
local function shipment_keys(command, ids)
  local keys = {}
  local named = command.order_id or command.reservation_id or ''
  for _, holder in ipairs(#ids > 0 and ids or { named }) do
    keys[#keys + 1] = shipment_key(command.shipment_id, command.sku, command.location, holder)
  end
  return keys
end

-- Whether these units have left with this shipment before, also when it was known by order alone.
local function has_left(command, ids)
  for _, holders in ipairs({ ids, NOTHING }) do
    for _, key in ipairs(shipment_keys(command, holders)) do
      if is_seen(key) then
        return true
      end
    end
  end
  return false
end

-- Units sold for an order before its confirm wait for it, summed by SKU and location.
local function remember_early(command, units)
  local order = touch_order(command.order_id)
  local early = order[EARLY]
  if #order[RESERVATION_IDS] == 0 then
    order[ORDER_KEPT_UNTIL] = now + window_ms
  end
  for _, sold in ipairs(early) do
    if sold[1] == command.sku and sold[2] == command.location then
      sold[3] = sold[3] + units
      return
    end
  end
  if #early < EARLY_KEPT then
    early[#early + 1] = { command.sku, command.location, units }
  end
end

-- A sale or shipment: what named reservations hold of it is fulfilled, lines in order, those held
-- at the same location first; the rest is a plain sale. Facts are never refused.
local function sale(command, blob)
  local ids = named_reservations(command)
  if command.shipment_id and has_left(command, ids) then
    return { 'duplicate' }
  end
  local rest, of_sku, fulfilled_before = command.quantity, false, false
  for pass = 1, 2 do
    for _, id in ipairs(ids) do
      local known = reservation_of(id)
      for i, line in ipairs(known[LINES]) do
        local here = line[LOCATION] == command.location
        if line[SKU] == command.sku and here == (pass == 1) then
          local units = min(rest, open_units(known, line))
          of_sku, fulfilled_before = true, fulfilled_before or line[FULFILLED] > 0
          if units > 0 then
            take_off(touch_reservation(id)[LINES][i], units, FULFILLED)
            rest = rest - units
          end
        end
      end
    end
  end
  for _, id in ipairs(ids) do
    local mine = staged_reservations[id]
    if mine and mine[STATUS] ~= 'expired' then
      close_when_done(mine)
    end
  end
  if rest == command.quantity and fulfilled_before then
    opened[#opened + 1] = { 'already-fulfilled', command.sku, command.location,
      command.order_id or command.reservation_id, rest }
  elseif command.order_id and not of_sku then
    remember_early(command, rest)
  end
  local level = touch_level(level_name(command.sku, command.location))
  local moved = move_on_hand(level, -command.quantity, command.occurred_at_ms)
  if command.shipment_id then
    for _, key in ipairs(shipment_keys(command, ids)) do
      mark_seen(key)
    end
  end
  local status = not moved and 'absorbed' or nil
  append_entry(command, blob, status)
  return { status or 'applied', seq }
end

return { fulfil = fulfil, no_pick = no_pick, sale = sale, shipment = sale }
