-- Repairs: values changed in Redis past the script, set right from the ledger. A repair that
-- comes twice, or late, does no harm: it applies to what was found, or not at all.

-- Equal values; tables by what is in them.
local function same(a, b)
  if type(a) ~= 'table' or type(b) ~= 'table' then
    return a == b
  end
  for name, value in pairs(a) do
    if not same(value, b[name]) then
      return false
    end
  end
  for name in pairs(b) do
    if a[name] == nil then
      return false
    end
  end
  return true
end

-- The entry of a repair: for the record and for a person.
local function settle_repair(command, blob, sku, location, reference, units)
  table.insert(opened, 1, { 'drift', sku, location, reference, units })
  append_entry(command, blob)
  return { 'applied', seq }
end

-- The SKU's locations: those on the list that have a level, and this one if it is to have one.
-- Answers also whether the list is so already.
local function mended_locations(sku, location, has_level)
  local readable, known = pcall(locations_of, sku)
  local mended, met = {}, { [location] = true }
  for _, other in ipairs(readable and known or NOTHING) do
    local name = level_name(sku, other)
    if not met[other] and (levels[name] or levels[name] == nil
        and redis.call('HEXISTS', STOCK, name) == 1) then
      mended[#mended + 1] = other
    end
    met[other] = true
  end
  if has_level then
    mended[#mended + 1] = location
  end
  table.sort(mended, is_before)
  return mended, readable and same(mended, known)
end

local function repaired_at(level)
  return level[EXTRAS] and level[EXTRAS].repaired_at
end

-- The level stands where it was found.
local function is_as_found(level, found)
  return found and level[VERSION] == found[VERSION] and level[UPDATED_AT] == found[UPDATED_AT]
    and repaired_at(level) == repaired_at(found)
end

-- The level has moved on since it was found, by changes that add up: no count, no other repair.
local function has_gone_on(level, found, right)
  local extras = level[EXTRAS] or NOTHING
  return found and right and level[VERSION] > found[VERSION]
    and same(found[EXTRAS], right[EXTRAS]) and extras.counted_at == found[EXTRAS].counted_at
    and extras.repaired_at == found[EXTRAS].repaired_at
end

-- What was wrong with the level's numbers is taken out of what they are now.
local function made_good(level, found, right)
  local good = copy(level)
  for place = ON_HAND, LEVEL_ALLOCATED do
    good[place] = level[place] + right[place] - found[place]
  end
  return good
end

-- The level that a repair carries: what its documents leave out is 0.
local function as_carried(level)
  for _, document in pairs(level[EXTRAS].documents or NOTHING) do
    document.received = document.received or 0
  end
  return level
end

-- The level as it is to be, as an entry of its own; the damage never was a delta of on_hand.
local function put_repaired(name, level, was)
  touch_extras(level).repaired_at = level[VERSION] + 1
  level[MOVES] = level[MOVES] + 1
  put_level(name, level)
  note_sign(name, was, level[ON_HAND])
end

-- What the level becomes is not what was found: the same repair, sent again, finds it gone on.
local function apart(level, found)
  if found and level[VERSION] + 1 == found[VERSION] then
    level[VERSION] = found[VERSION]
  end
  return level
end

local function repair_level(command, blob)
  local name = level_name(command.sku, command.location)
  local found, right = command.found, command.right
  local readable, level = pcall(level_of, name)
  local known = readable and level
  local listed, in_place = mended_locations(command.sku, command.location, right ~= nil)
  if not right and readable and not known then
    if in_place then
      return { 'unchanged' }
    end
  elseif known and has_gone_on(known, found, right) then
    put_repaired(name, made_good(known, found, right), known[ON_HAND])
  elseif not readable or known and is_as_found(known, found) or not known and not found then
    if right then
      put_repaired(name, apart(as_carried(right), found), known and known[ON_HAND] or 0)
    else
      put_level(name, false)
    end
  else
    return { 'moved' }
  end
  local outcome = settle_repair(command, blob, command.sku, command.location, '',
    found and right and right[ON_HAND] - found[ON_HAND] or 0)
  locations[command.sku], new_locations[command.sku] = listed, listed
  return outcome
end

-- When a reservation or order is next to be looked at; false if never.
local function deadline_of(member)
  local at = new_deadlines[member]
  if at == nil then
    at = redis.call('ZSCORE', DEADLINES, member)
  end
  return at and tonumber(at)
end

local function repair_reservation(command, blob)
  local id, right = command.reservation_id, command.right
  local member = 'r' .. id
  local readable, reservation = pcall(reservation_of, id)
  local known = readable and reservation
  if not right and readable and not known then
    if not deadline_of(member) then
      return { 'unchanged' }
    end
  elseif readable and (known and known[SEQ] or nil) ~= command.found_seq then
    return { 'moved' }
  end
  put_reservation(id, right or false)
  return settle_repair(command, blob, '', '', id, 0)
end

local function repair_order(command, blob)
  local id, right = command.order_id, command.right
  local member = 'o' .. id
  local readable, order = pcall(order_of, id)
  local known = readable and order or nil
  local due_at = right and order_due_at(right) or false
  if readable and same(known, right) and deadline_of(member) == due_at then
    return { 'unchanged' }
  end
  if readable and not same(known, command.found) then
    return { 'moved' }
  end
  put_order(id, right or false)
  return settle_repair(command, blob, '', '', id, 0)
end

return {
  repair_level = repair_level, repair_reservation = repair_reservation,
  repair_order = repair_order,
}
