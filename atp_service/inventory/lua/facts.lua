-- Facts: what tills, warehouses and the ERP report. They are never refused for lack of stock.

local function settle_fact(command, blob, moved)
  local status = not moved and 'absorbed' or nil
  append_entry(command, blob, status)
  return { status or 'applied', seq }
end

local function document_of(level, id)
  local extras = touch_extras(level)
  extras.documents = extras.documents or {}
  local document = extras.documents[id] or {}
  document.received = document.received or 0
  extras.documents[id] = document
  return document
end

-- What a document brings in all: as announced, or as sent off, whichever is more; nil where neither
-- is known. One may be reported both ways, in any order.
local function in_all(document)
  if document.expected or document.shipped then
    return max(document.expected or 0, document.shipped or 0)
  end
end

-- A document that was cancelled later than this was sent off: nothing more comes of it.
local function is_cancelled(document, command)
  return document.expected == 0 and min(command.occurred_at_ms, now) <= document.expected_at
end

-- A document is settled when all that is expected has come, or nothing is known to be expected;
-- the latest few settled ones are kept, for news that comes late.
local function settle_document(level, document)
  local expected = in_all(document)
  document.settled_at = (not expected or document.received >= expected) and now or nil
  local settled_ids = {}
  for id, other in pairs(level[EXTRAS].documents) do
    if other.settled_at then
      settled_ids[#settled_ids + 1] = id
    end
  end
  if #settled_ids > SETTLED_DOCUMENTS_KEPT then
    local documents = level[EXTRAS].documents
    table.sort(settled_ids, function(a, b)
      if documents[a].settled_at ~= documents[b].settled_at then
        return documents[a].settled_at < documents[b].settled_at
      end
      return is_before(a, b)
    end)
    for i = 1, #settled_ids - SETTLED_DOCUMENTS_KEPT do
      documents[settled_ids[i]] = nil
    end
  end
end

-- Both sides of a transfer are known: a difference is for a person, until it is made good.
local function compare_transfer(command, document)
  if (document.shipped or 0) > 0 and document.received > 0 then
    local notices = document.shipped == document.received and settled or opened
    notices[#notices + 1] = { 'transfer-difference', command.sku, command.to_location,
      command.document, document.received - document.shipped }
  end
end

local RETURN_STATES = { damaged = 'damaged', quality_control = 'quality_control' }

local function customer_return(command, blob)
  local name = level_name(command.sku, command.location)
  local level = touch_level(name)
  local disposition = command.disposition or 'restock'
  if disposition == 'in_transit' or disposition == 'to_dc' then
    local document = document_of(level, command.document)
    if not is_cancelled(document, command) then
      document.shipped = (document.shipped or 0) + command.quantity
    end
    settle_document(level, document)
    return settle_fact(command, blob, true)
  end
  if RETURN_STATES[disposition] then
    change_state(level, name, RETURN_STATES[disposition], command.quantity)
  end
  local documents = level[EXTRAS] and level[EXTRAS].documents
  if documents and command.document and documents[command.document] then -- has arrived
    local on_its_way = document_of(level, command.document)
    on_its_way.received = on_its_way.received + command.quantity
    settle_document(level, on_its_way)
  end
  return settle_fact(command, blob, move_on_hand(level, command.quantity, command.occurred_at_ms))
end

local function receipt(command, blob)
  local level = touch_level(level_name(command.sku, command.location))
  if command.document then
    local document = document_of(level, command.document)
    document.received = document.received + command.quantity
    settle_document(level, document)
  end
  return settle_fact(command, blob, move_on_hand(level, command.quantity, command.occurred_at_ms))
end

local function transfer_shipped(command, blob)
  local from = touch_level(level_name(command.sku, command.from_location))
  local to = touch_level(level_name(command.sku, command.to_location))
  local document = document_of(to, command.document)
  if not is_cancelled(document, command) then
    document.shipped = (document.shipped or 0) + command.quantity
  end
  document.eta = command.eta or document.eta
  document.transfer = true
  settle_document(to, document)
  compare_transfer(command, document)
  return settle_fact(command, blob, move_on_hand(from, -command.quantity, command.occurred_at_ms))
end

local function transfer_received(command, blob)
  local to = touch_level(level_name(command.sku, command.to_location))
  local document = document_of(to, command.document)
  document.received = document.received + command.quantity
  document.transfer = true
  settle_document(to, document)
  compare_transfer(command, document)
  return settle_fact(command, blob, move_on_hand(to, command.quantity, command.occurred_at_ms))
end

local function adjustment(command, blob)
  local level = touch_level(level_name(command.sku, command.location))
  return settle_fact(command, blob, move_on_hand(level, command.quantity, command.occurred_at_ms))
end

-- on_hand has changed since the command's deltas were added up.
local function has_moved(level, command)
  return (level and level[MOVES] or 0) ~= (command.moves or 0)
end

-- Units were counted later than this: it says nothing new.
local function is_outdated(level, command)
  local counted_at = level and level[EXTRAS] and level[EXTRAS].counted_at
  return counted_at and command.occurred_at_ms < counted_at
end

-- on_hand as it was reported for then, and what has happened since.
local function correct(level, command)
  touch_extras(level).counted_at = min(command.occurred_at_ms, now)
  level[ON_HAND] = command.quantity + (command.deltas_after or 0)
  level[MOVES] = level[MOVES] + 1
end

-- The counted units, and what has happened since; an older count says nothing new.
local function count(command, blob)
  local name = level_name(command.sku, command.location)
  if has_moved(level_of(name), command) then
    return { 'moved' }
  end
  local level = touch_level(name)
  if is_outdated(level, command) then
    return settle_fact(command, blob, false)
  end
  correct(level, command)
  return settle_fact(command, blob, true)
end

-- What the source believed, beside what we had then. The feed's policy decides on a difference;
-- none, or one that was corrected, settles what an earlier one has opened.
local function snapshot(command, blob)
  local name = level_name(command.sku, command.location)
  local known = level_of(name)
  if has_moved(known, command) then
    return { 'moved' }
  end
  if is_outdated(known, command) then
    return settle_fact(command, blob, false)
  end
  local difference = command.quantity + (command.deltas_after or 0)
    - (known and known[ON_HAND] or 0)
  local beyond = difference > (command.tolerance or 0) or -difference > (command.tolerance or 0)
  if beyond and command.policy == 'correct' then
    correct(touch_level(name), command)
  end
  local notice = { 'snapshot-difference', command.sku, command.location, command.source,
    difference }
  if not beyond or command.policy == 'correct' then
    settled[1] = notice
  elseif command.policy == 'review' then
    opened[1] = notice
  end
  if difference ~= 0 then
    noted[1] = { 'snapshot-difference', command.sku, command.location, command.policy,
      difference }
  end
  return settle_fact(command, blob, true)
end

-- The source has reported all it has at the location.
local function snapshot_closed(command, blob)
  return settle_fact(command, blob, true)
end

local function state_change(command, blob)
  local name = level_name(command.sku, command.location)
  local level = touch_level(name)
  if command.from_state ~= 'sellable' then
    change_state(level, name, command.from_state, -command.quantity)
  end
  if command.to_state ~= 'sellable' then
    change_state(level, name, command.to_state, command.quantity)
  end
  return settle_fact(command, blob, true)
end

-- What a document is expected to bring; older news than what is known changes nothing. 0 cancels
-- what is on its way, too.
local function incoming(command, blob)
  local level = touch_level(level_name(command.sku, command.location))
  local document = document_of(level, command.document)
  local reported_at = min(command.occurred_at_ms, now)
  local newer = reported_at >= (document.expected_at or 0)
  if newer then
    document.expected, document.expected_at = command.quantity, reported_at
    if command.quantity == 0 and document.shipped then
      document.shipped = min(document.shipped, document.received)
    end
    document.eta = command.eta or document.eta
  end
  settle_document(level, document)
  return settle_fact(command, blob, newer)
end

-- It has been heard; that is all.
local function heartbeat()
  return { 'applied', 0 }
end

local function safety_stock(command, blob)
  local name = level_name(command.sku, command.location)
  local known = level_of(name)
  local before = known and known[EXTRAS] and known[EXTRAS].safety_stock
  if (before or nil) == command.safety_stock then
    return { 'unchanged' }
  end
  touch_extras(touch_level(name)).safety_stock = command.safety_stock
  if command.key then
    mark_seen(caller_key(command))
  end
  append_entry(command, blob)
  return { 'applied', seq }
end

-- What can't be applied is kept all the same: in the journal, with its payload. It doesn't make its
-- feed any fresher.
local function park(command, blob)
  append_entry(command, blob)
  return { 'parked', seq }
end

return {
  ['return'] = customer_return, receipt = receipt, transfer_shipped = transfer_shipped,
  transfer_received = transfer_received, adjustment = adjustment, count = count,
  state_change = state_change, incoming = incoming, heartbeat = heartbeat,
  safety_stock = safety_stock, park = park, snapshot = snapshot,
  snapshot_closed = snapshot_closed,
}
