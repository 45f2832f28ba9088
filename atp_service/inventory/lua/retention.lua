-- How long Redis keeps a reservation or an order, and when it is due. Their images say so: neither
-- a clock nor a setting is needed to read them.

-- When a reservation is due: a live hold lapses, a closed one is forgotten. False: never.
local function reservation_due_at(reservation)
  if reservation[STATUS] == 'held' then
    return reservation[EXPIRES_AT]
  end
  return reservation[KEPT_UNTIL] > 0 and reservation[KEPT_UNTIL]
end

-- When an order that waits for its confirm is forgotten. False: never, its reservations decide.
local function order_due_at(order)
  return order[ORDER_KEPT_UNTIL] > 0 and order[ORDER_KEPT_UNTIL]
end

local function has_lapsed(reservation, now)
  return reservation[STATUS] == 'held' and reservation[EXPIRES_AT] <= now
end

local function is_forgotten(reservation, now)
  return reservation[KEPT_UNTIL] > 0 and reservation[KEPT_UNTIL] <= now
end
