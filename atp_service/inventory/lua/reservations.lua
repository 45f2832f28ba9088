-- Promises: hold, replace, extend, confirm, release. Checks come before any change.

local function answer(tag, id)
  return { tag, reservations[id][SEQ], new_reservations[id] or reservation_blobs[id] }
end

-- The command has changed the reservation: its entry, and the reservation as it is now.
local function settle(tag, command, blob)
  if command.key then
    mark_seen(caller_key(command, staged_reservations[command.reservation_id]))
  end
  append_entry(command, blob)
  return answer(tag, command.reservation_id)
end

local function same_content(reservation, command, channel, customer_id)
  return reservation[FINGERPRINT] == command.fingerprint
    and reservation[CHANNEL] == channel and reservation[CUSTOMER] == customer_id
end

-- What a line still has: units it holds, or held until its deadline passed.
local function open_units(reservation, line)
  if reservation[STATUS] == 'expired' then
    return line[LAPSED]
  end
  return line[RESERVED] + line[ALLOCATED]
end

local function has_open_units(reservation)
  for _, line in ipairs(reservation[LINES]) do
    if open_units(reservation, line) > 0 then
      return true
    end
  end
  return false
end

-- A reservation with nothing open is at its end: fulfilled if any unit left, else released.
local function close_when_done(reservation)
  if has_open_units(reservation) then
    return
  end
  reservation[STATUS] = 'released'
  for _, line in ipairs(reservation[LINES]) do
    if line[FULFILLED] > 0 then
      reservation[STATUS] = 'fulfilled'
    end
  end
  reservation[CLOSED_AT], reservation[KEPT_UNTIL] = now, now + window_ms
end

-- What a reservation has reserved goes back to its levels.
local function give_back(lines)
  for _, line in ipairs(lines) do
    if line[RESERVED] > 0 then
      local level = touch_level(level_name(line[SKU], line[LOCATION]))
      level[LEVEL_RESERVED] = level[LEVEL_RESERVED] - line[RESERVED]
    end
  end
end

-- Each line takes what its level has left, in order, after `known_lines`, if any, have given back.
-- Answers the lines of the reservation, and what is short, if any: then it is for the caller to
-- begin anew.
local function allot(wanted, known_lines)
  if known_lines then
    give_back(known_lines)
  end
  local lines, shortages = {}, nil
  for i = 1, #wanted do
    local line = wanted[i]
    local sku, location, quantity = line.sku, line.location, line.quantity
    local name, safety_stock = level_name(sku, location), line.safety_stock or 0
    local units = line.granted or quantity
    local grant = min(available(name, safety_stock), units)
    if grant > 0 then
      local level = touch_level(name)
      level[LEVEL_RESERVED] = level[LEVEL_RESERVED] + grant
    end
    if grant < units then
      shortages = shortages or {}
      shortages[#shortages + 1] = { line.line_id, sku, location, units, grant }
    end
    lines[i] = { line.line_id, sku, location, quantity, grant, 0, 0, 0, safety_stock, 0 }
  end
  return lines, shortages
end

-- Whether lapsed holds could help: no more can come back to a level than others have reserved.
local function may_come_back(lines, shortages, partial)
  local missing, mine = {}, {}
  for _, line in ipairs(lines) do
    local name = level_name(line[SKU], line[LOCATION])
    mine[name] = (mine[name] or 0) + line[RESERVED]
  end
  for _, short in ipairs(shortages) do
    local name = level_name(short[2], short[3])
    missing[name] = (missing[name] or 0) + short[4] - short[5]
  end
  local all, any = true, false
  for name, units in pairs(missing) do
    local level = level_of(name)
    local of_others = level and level[LEVEL_RESERVED] - mine[name] or 0
    all, any = all and of_others >= units, any or of_others > 0
  end
  return all or partial and any
end

-- As allot; but before anything is refused, lapsed holds are reaped. `more`: some are still due.
local function allot_after_reaping(wanted, known_lines, partial)
  local lines, shortages = allot(wanted, known_lines)
  local more = false
  if shortages and may_come_back(lines, shortages, partial) then
    begin()
    more = reap_for_promise()
    lines, shortages = allot(wanted, known_lines)
    more = more and shortages ~= nil and may_come_back(lines, shortages, partial)
  end
  return lines, shortages, more
end

-- Whether a partial hold would hold anything.
local function any_granted(lines)
  for _, line in ipairs(lines) do
    if line[RESERVED] > 0 then
      return true
    end
  end
  return false
end

-- Why a line may not be promised, in the order in which the reasons win. Up to UNKNOWN the names
-- are not known; after it the SKU or the location is not sold.
local REASONS = {
  unknown_sku = 1, unknown_location = 2, unasked = 3, unknown_channel = 4, unasked_channel = 5,
  sku = 6, inactive = 7, closed = 7, channel = 7,
}
local UNKNOWN = 5

-- The first of the reasons from `from` on that keeps lines from being promised, and those lines.
-- Nil if none does. While master data is away, what has a level is known.
local function refused(lines, from)
  local first
  for i = 1, #lines do
    local line = lines[i]
    local place = REASONS[line.refused]
    if place and place >= from and (not first or place < first)
      and not (line.refused == 'unasked' and level_of(level_name(line.sku, line.location))) then
      first = place
    end
  end
  if not first then
    return nil
  end
  local named = {}
  for _, line in ipairs(lines) do
    if REASONS[line.refused] == first then
      named[#named + 1] = { line.line_id, line.sku, line.location, line.quantity, 0, line.refused }
    end
  end
  return first, pack(named)
end

-- Take the lines of a hold or replace; `known` is the reservation they replace, or nil.
local function take(command, blob, known, channel, customer_id)
  local id, partial = command.reservation_id, command.allow_partial
  local lines, shortages, more = allot_after_reaping(command.lines, known and known[LINES], partial)
  if shortages and (more or not (partial and any_granted(lines))) then
    begin()
    return more and { 'again' } or { 'insufficient_stock', 0, pack(shortages) }
  end
  put_reservation(id, { 'held', known and known[GENERATION] + 1 or 1, channel,
    customer_id, '', known and known[CREATED_AT] or now, now + command.ttl_ms,
    0, 0, command.fingerprint, '', 0, lines })
  return settle('held', command, blob)
end

-- The order of answers, once it is no repeat: unknown, reused id, no room, SKU unavailable,
-- location unavailable, insufficient stock.
local function promise(command, blob, known, channel, customer_id)
  local reason, refused_lines = refused(command.lines, 1)
  if reason and reason <= UNKNOWN then
    return { 'refused', 0, refused_lines }
  end
  if known and command.type == 'hold' then
    return { 'reservation_id_reused' }
  end
  if promises_refused then
    return { 'no_room' }
  end
  if reason then
    return { 'refused', 0, refused_lines }
  end
  return take(command, blob, known, channel, customer_id)
end

local function hold(command, blob)
  local id, channel, customer_id = command.reservation_id, command.channel or '',
    command.customer_id or ''
  local known = reservation_now(id)
  if known and same_content(known, command, channel, customer_id) then
    return answer('repeated', id)
  end
  return promise(command, blob, known, channel, customer_id)
end

-- Whether a line has been granted less than was asked for.
local function is_short(reservation)
  for _, line in ipairs(reservation[LINES]) do
    if open_units(reservation, line) + line[FULFILLED] + line[RELEASED] < line[QUANTITY] then
      return true
    end
  end
  return false
end

local function has_fulfilled(reservation)
  for _, line in ipairs(reservation[LINES]) do
    if line[FULFILLED] > 0 then
      return true
    end
  end
  return false
end

-- The same content again is a repeat, whatever the generation and also once it is confirmed, unless
-- all of it is asked for and only a part was had; an expired one is held anew. The order of
-- answers: not found, a repeat, no longer held, generation mismatch, then that of a promise.
local function replace(command, blob, known)
  local id = command.reservation_id
  local channel = command.channel or known[CHANNEL]
  local customer_id = command.customer_id or known[CUSTOMER]
  local stands = known[STATUS] == 'held' or known[STATUS] == 'confirmed'
  if stands and same_content(known, command, channel, customer_id)
    and (command.allow_partial or not is_short(known)) then
    return answer('repeated', id)
  end
  if known[STATUS] ~= 'held' and known[STATUS] ~= 'expired' or has_fulfilled(known) then
    return answer('wrong_status', id)
  end
  if command.if_generation and command.if_generation ~= known[GENERATION] then
    return answer('generation_mismatch', id)
  end
  if channel ~= (command.channel or command.terms_channel or '') then
    return answer('terms_needed', id)
  end
  return promise(command, blob, known, channel, customer_id)
end

local function extend(command, blob, known)
  local id = command.reservation_id
  if known[STATUS] ~= 'held' then
    return answer('wrong_status', id)
  end
  local reservation = touch_reservation(id)
  reservation[EXPIRES_AT] = now + command.ttl_ms
  return settle('changed', command, blob)
end

-- Units of each line that were sold for the order before its confirm; same location first.
local function early_units(order, lines, term)
  local units, early = {}, order and copy(order[EARLY]) or {}
  for i = 1, #lines do
    units[i] = 0
  end
  for pass = 1, 2 do
    for i, line in ipairs(lines) do
      for _, sold in ipairs(early) do
        if sold[1] == line[SKU] and (pass == 2 or sold[2] == line[LOCATION]) then
          local matched = min(line[term] - units[i], sold[3])
          units[i], sold[3] = units[i] + matched, sold[3] - matched
        end
      end
    end
  end
  local left = {}
  for _, sold in ipairs(early) do
    if sold[3] > 0 then
      left[#left + 1] = sold
    end
  end
  return units, left
end

-- Whether terms were made for the reservation as it is.
local function are_terms_of(terms, reservation)
  local lines = reservation[LINES]
  if not terms or terms.channel ~= reservation[CHANNEL]
    or terms.generation ~= reservation[GENERATION] or #terms.lines ~= #lines then
    return false
  end
  for i, line in ipairs(lines) do
    local of_line = terms.lines[i]
    if of_line.line_id ~= line[LINE_ID] or of_line.sku ~= line[SKU]
      or of_line.location ~= line[LOCATION] then
      return false
    end
  end
  return true
end

-- The customer of a late confirm has paid: a name that was deleted does not refuse it.
local function confirm(command, blob, known)
  local id = command.reservation_id
  if known[ORDER] ~= '' then
    return answer(known[ORDER] == command.order_id and 'repeated' or 'already_confirmed', id)
  end
  if known[STATUS] == 'released' then
    return answer('wrong_status', id)
  end
  local expired = known[STATUS] == 'expired'
  local term = expired and LAPSED or RESERVED
  local early, left_early = early_units(order_now(command.order_id), known[LINES], term)
  if expired then
    local wanted, has_terms = {}, are_terms_of(command.terms, known)
    for i, line in ipairs(known[LINES]) do
      if line[LAPSED] > early[i] then
        if not has_terms then
          return answer('terms_needed', id)
        end
        local of_line = command.terms.lines[i]
        wanted[#wanted + 1] = { line_id = line[LINE_ID], sku = line[SKU],
          location = line[LOCATION], quantity = line[LAPSED] - early[i],
          safety_stock = of_line.safety_stock, refused = of_line.refused }
      end
    end
    local reason, refused_lines = refused(wanted, UNKNOWN + 1)
    if reason then
      return { 'reservation_lost', 0, refused_lines }
    end
    local _, shortages, more = allot_after_reaping(wanted, nil, false)
    if shortages then
      begin()
      return more and { 'again' } or { 'reservation_lost', 0, pack(shortages) }
    end
  end
  local reservation = touch_reservation(id)
  for i, line in ipairs(reservation[LINES]) do
    local units = line[term]
    if units > 0 then
      local level = touch_level(level_name(line[SKU], line[LOCATION]))
      -- Of an expired one the early units were not reserved again.
      local reserved = expired and units - early[i] or units
      level[LEVEL_RESERVED] = level[LEVEL_RESERVED] - reserved
      level[LEVEL_ALLOCATED] = level[LEVEL_ALLOCATED] + units - early[i]
      line[term] = 0
      line[ALLOCATED] = line[ALLOCATED] + units - early[i]
      line[FULFILLED] = line[FULFILLED] + early[i]
    end
  end
  reservation[ORDER], reservation[OUTCOME] = command.order_id, expired and 'reacquired' or 'kept'
  local order = touch_order(command.order_id)
  order[RESERVATION_IDS][#order[RESERVATION_IDS] + 1] = id
  order[EARLY], order[ORDER_KEPT_UNTIL] = left_early, 0
  if reservation[STATUS] ~= 'fulfilled' then
    reservation[STATUS], reservation[EXPIRES_AT] = 'confirmed', 0
    reservation[CLOSED_AT], reservation[KEPT_UNTIL] = 0, 0
    close_when_done(reservation)
  end
  return settle('confirmed', command, blob)
end

-- Which units of which lines are meant; nil and the excesses where there are not so many.
local function chosen(reservation, lines)
  local units, excesses, of = {}, {}, {}
  for i, line in ipairs(reservation[LINES]) do
    local open = open_units(reservation, line)
    units[i], of[line[LINE_ID]] = lines and 0 or open, { i, open }
  end
  for _, wanted in ipairs(lines or {}) do
    local line = of[wanted.line_id]
    if not line or wanted.quantity > line[2] then
      excesses[#excesses + 1] = { wanted.line_id, wanted.quantity, line and line[2] or -1 }
    else
      units[line[1]] = wanted.quantity
    end
  end
  if #excesses > 0 then
    return nil, excesses
  end
  return units
end

-- Units leave a line, and what their level has promised falls with them; of a lapsed line no level
-- has promised anything any more.
local function take_off(line, units, counted_as)
  line[counted_as] = line[counted_as] + units
  if line[LAPSED] > 0 then
    line[LAPSED] = line[LAPSED] - units
    return
  end
  local level = touch_level(level_name(line[SKU], line[LOCATION]))
  if line[RESERVED] > 0 then
    level[LEVEL_RESERVED] = level[LEVEL_RESERVED] - units
    line[RESERVED] = line[RESERVED] - units
  else
    level[LEVEL_ALLOCATED] = level[LEVEL_ALLOCATED] - units
    line[ALLOCATED] = line[ALLOCATED] - units
  end
end

-- What is given back of an expired reservation no late confirm takes again.
local function release(command, blob, known)
  local id = command.reservation_id
  if not has_open_units(known) then
    return answer('repeated', id)
  end
  local units, excesses = chosen(known, command.lines)
  if not units then
    return { 'quantity_not_open', 0, pack(excesses) }
  end
  local reservation = touch_reservation(id)
  for i, line in ipairs(reservation[LINES]) do
    if units[i] > 0 then
      take_off(line, units[i], RELEASED)
    end
  end
  close_when_done(reservation)
  return settle('changed', command, blob)
end
