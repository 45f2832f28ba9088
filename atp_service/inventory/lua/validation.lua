-- What is read must have the shape in which it was packed, or the command that reads it fails: what
-- somebody damaged must not get into an entry, where no reader could read it.
local find, gsub, unpack_blob = string.find, string.gsub, cmsgpack.unpack

local function unpack_as(check)
  return function(blob)
    local value, more = unpack_blob(blob)
    if more ~= nil then
      error('damaged: more than one value')
    end
    check(value)
    return value
  end
end

-- A comparison fails by itself on what is no number.
local function whole(number)
  if number > LARGEST or number < -LARGEST or number % 1 ~= 0 then
    error('damaged: not a whole number')
  end
end

-- UTF-8 as Python reads it: no longer forms than need be, no surrogates, nothing past the last.
local SEQUENCES = {
  '[\194-\223][\128-\191]',
  '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
  '\237[\128-\159][\128-\191]',
  '\240[\144-\191][\128-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191][\128-\191]',
  '\244[\128-\143][\128-\191][\128-\191]',
}

-- A plain letter takes the place of each whole sequence: what stands around it must not be joined.
-- Nothing but plain letters may be left.
local function text(value)
  if type(value) ~= 'string' then
    error('damaged: not a text')
  end
  if find(value, '[\128-\255]') then
    local rest = value
    for place = 1, #SEQUENCES do
      rest = gsub(rest, SEQUENCES[place], 'x')
    end
    if find(rest, '[\128-\255]') then
      error('damaged: not UTF-8')
    end
  end
end

local function one_of(...)
  local known = {}
  for _, value in ipairs({ ... }) do
    known[value] = true
  end
  return function(value)
    if not known[value] then
      error('damaged: none of the values it may have')
    end
  end
end

-- A check for each place.
local function row_of(...)
  local checks = { ... }
  return function(row)
    for place = 1, #checks do
      checks[place](row[place])
    end
  end
end

local function list_of(check)
  return function(list)
    for _, value in pairs(list) do
      check(value)
    end
  end
end

-- A check for each name; any of them may be left out, and there is no other.
local function struct_of(checks)
  return function(struct)
    for name, value in pairs(struct) do
      checks[name](value)
    end
  end
end

local function map_of(check)
  return function(map)
    for name, value in pairs(map) do
      text(name)
      check(value)
    end
  end
end

local check_numbers = row_of(whole, whole, whole, whole, whole, whole)
local check_extras = struct_of({
  counted_at = whole, safety_stock = whole, repaired_at = whole, states = map_of(whole),
  documents = map_of(struct_of({
    expected = whole, expected_at = whole, shipped = whole, received = whole, settled_at = whole,
    eta = text, transfer = one_of(true),
  })),
})

return {
  level = unpack_as(function(level)
    check_numbers(level)
    if level[EXTRAS] ~= nil then
      check_extras(level[EXTRAS])
    end
  end),
  reservation = unpack_as(row_of(
    one_of('held', 'confirmed', 'fulfilled', 'released', 'expired'),
    whole, text, text, text, whole, whole, whole, whole, text, one_of('', 'kept', 'reacquired'),
    whole,
    list_of(row_of(text, text, text, whole, whole, whole, whole, whole, whole, whole))
  )),
  order = unpack_as(row_of(list_of(text), list_of(row_of(text, text, whole)), whole)),
  locations = unpack_as(list_of(text)),
}
