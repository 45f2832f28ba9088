"""A test of the test: faults planted in the script, one at a time, are each caught.

What cannot happen: a rule broken in the Lua goes unnoticed. Each fault is one the trade would pay
for; the search plays histories until the script and the model part.
"""

from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from redis import Redis
from redis.exceptions import ResponseError

from atp_service.store.script import with_numbers
from tests.inventory.agreement import Disagreement, Step, play, script_in_hand
from tests.inventory.histories import damaged_histories, histories

HISTORIES_AT_MOST = 3_000


class Fault(NamedTuple):
    """What is broken, and how: the Lua as it stands, and as it is planted."""

    breaks: str
    stands: str
    planted: str
    damaged: bool = False  # it shows where something was damaged


FAULTS = [
    Fault(
        "a hold lives one millisecond beyond its deadline",
        "reservation[EXPIRES_AT] <= now",
        "reservation[EXPIRES_AT] < now",
    ),
    Fault(
        "lines of one level are checked one by one",
        "min(available(name, safety_stock), units)",
        "min(available(name, safety_stock)\n"
        "      + (i > 1 and wanted[i - 1].sku == sku and lines[i - 1][RESERVED] or 0), units)",
    ),
    Fault(
        "a hold applied again takes more than it was told it has",
        "line.granted or quantity",
        "quantity",
    ),
    Fault("safety stock is sold", "return max(0, atf - safety_stock)", "return max(0, atf)"),
    Fault(
        "the channel's safety stock wins over the level's",
        "level[EXTRAS] and level[EXTRAS].safety_stock or of_channel",
        "of_channel or level[EXTRAS].safety_stock",
    ),
    Fault(
        "damaged units are sold",
        "level[ON_HAND] - unavailable(level) - level[LEVEL_RESERVED]",
        "level[ON_HAND] - level[LEVEL_RESERVED]",
    ),
    Fault(
        "a late confirm takes units without asking whether they are there",
        "    if shortages then\n      begin()\n"
        "      return more and { 'again' } or { 'reservation_lost', 0, pack(shortages) }\n    end",
        "",
    ),
    Fault(
        "a line that may not be promised is held",
        "  if reason then\n    return { 'refused'",
        "  if false then\n    return { 'refused'",
    ),
    Fault("a line whose SKU is unknown is held", "unknown_sku = 1, ", ""),
    Fault(
        "that a reservation's id is reused wins over that a SKU is unknown",
        "  if reason and reason <= UNKNOWN then",
        "  if false then",
    ),
    Fault(
        "a repeat is refused because the location has closed meanwhile",
        "  if known and same_content(known, command, channel, customer_id) then",
        "  if known and same_content(known, command, channel, customer_id)\n"
        "    and not refused(command.lines, 1) then",
    ),
    Fault(
        "that a location is closed wins over that the SKU is not sold",
        "sku = 6, inactive = 7, closed = 7",
        "sku = 7, inactive = 7, closed = 6",
    ),
    Fault(
        "of several lines that are refused only one is named",
        "    if REASONS[line.refused] == first then",
        "    if REASONS[line.refused] == first and #named == 0 then",
    ),
    Fault(
        "goods with a level are unknown while master data is away",
        "line.refused == 'unasked' and level_of",
        "false and level_of",
    ),
    Fault(
        "a late confirm takes units where nothing is sold any more",
        "    if reason then\n      return { 'reservation_lost'",
        "    if false then\n      return { 'reservation_lost'",
    ),
    Fault(
        "a late confirm is refused for a name that was deleted",
        "    local reason, refused_lines = refused(wanted, UNKNOWN + 1)",
        "    local reason, refused_lines = refused(wanted, 1)",
    ),
    Fault(
        "a late confirm goes by terms of the lines before",
        "    or terms.generation ~= reservation[GENERATION] or",
        "    or",
    ),
    Fault(
        "a late confirm goes by terms of another channel",
        "not terms or terms.channel ~= reservation[CHANNEL]",
        "not terms",
    ),
    Fault(
        "a replace goes by terms of another channel",
        "  if channel ~= (command.channel or command.terms_channel or '') then",
        "  if false then",
    ),
    Fault(
        "a confirm leaves the units reserved too",
        "      level[LEVEL_RESERVED] = level[LEVEL_RESERVED] - reserved",
        "",
    ),
    Fault(
        "a sale for an order counts its reserved units twice",
        "            take_off(touch_reservation(id)[LINES][i], units, FULFILLED)",
        "",
    ),
    Fault(
        "what was sold before the confirm is allocated again",
        "level[LEVEL_ALLOCATED] = level[LEVEL_ALLOCATED] + units - early[i]",
        "level[LEVEL_ALLOCATED] = level[LEVEL_ALLOCATED] + units",
    ),
    Fault(
        "an event is applied twice",
        "  if command.type ~= 'heartbeat' and is_seen(event_key(command)) then",
        "  if false then",
    ),
    Fault(
        "a shipment leaves twice",
        "  if command.shipment_id and has_left(command, ids) then\n"
        "    return { 'duplicate' }\n  end",
        "",
    ),
    Fault(
        "a late confirm takes again what was sold or given back after the hold had lapsed",
        "    line[LAPSED] = line[LAPSED] - units\n    return",
        "    return",
    ),
    Fault(
        "what is given back of a lapsed hold is taken off its level once more",
        "  if line[LAPSED] > 0 then",
        "  if false then",
    ),
    Fault(
        "a part of a cart is answered to who asks for all of it",
        "\n    and (command.allow_partial or not is_short(known)) then",
        " then",
    ),
    Fault(
        "a shipment told before its confirm leaves again when it is fulfilled",
        "or line[FULFILLED] > 0 and is_seen(",
        "or false and is_seen(",
    ),
    Fault(
        "a truck's goods for two carts that nobody knows count once",
        "command.order_id or command.reservation_id or ''",
        "command.order_id or ''",
    ),
    Fault(
        "an order is forgotten while units are still sold for it",
        "  if #order[RESERVATION_IDS] == 0 then\n    order[ORDER_KEPT_UNTIL] = now + window_ms",
        "  if #order[RESERVATION_IDS] == 0 and #early == 0 then\n"
        "    order[ORDER_KEPT_UNTIL] = now + window_ms",
    ),
    Fault(
        "a truck that carries two orders takes only the first",
        "sku .. SEPARATOR .. location .. SEPARATOR .. holder",
        "sku .. SEPARATOR .. location",
    ),
    Fault(
        "a delta from before the count is added to it",
        "min(occurred_at, now) <= counted_at then",
        "min(occurred_at, now) < counted_at then",
    ),
    Fault(
        "a till whose clock is ahead sells again what was counted",
        "min(occurred_at, now) <= counted_at then",
        "occurred_at <= counted_at then",
    ),
    Fault(
        "what is handed over right after a count stays on hand",
        "move_on_hand(touch_level(level_name(line[SKU], from)), -units[i])",
        "move_on_hand(touch_level(level_name(line[SKU], from)), -units[i], now)",
    ),
    Fault(
        "a count ignores that on_hand has moved meanwhile",
        "return (level and level[MOVES] or 0) ~= (command.moves or 0)",
        "return false",
    ),
    Fault(
        "an older count overrules a newer one",
        "return counted_at and command.occurred_at_ms < counted_at",
        "return false",
    ),
    Fault(
        "older news of a purchase order overrules newer",
        "local newer = reported_at >= (document.expected_at or 0)",
        "local newer = true",
    ),
    Fault(
        "what was cancelled on its way is waited for",
        "    if command.quantity == 0 and document.shipped then",
        "    if false then",
    ),
    Fault(
        "what was sent off before it was cancelled is waited for",
        "document.expected == 0 and min(command.occurred_at_ms, now)",
        "false and min(command.occurred_at_ms, now)",
    ),
    Fault(
        "a transfer that was announced too is waited for twice",
        "max(document.expected or 0, document.shipped or 0)",
        "(document.expected or 0) + (document.shipped or 0)",
    ),
    Fault(
        "a replaced cart keeps its old units too",
        "  return settle('held', command, blob)",
        "  for _, line in ipairs(known and known[LINES] or {}) do\n"
        "    local level = touch_level(level_name(line[SKU], line[LOCATION]))\n"
        "    level[LEVEL_RESERVED] = level[LEVEL_RESERVED] + line[RESERVED]\n  end\n"
        "  return settle('held', command, blob)",
    ),
    Fault(
        "a replaced cart's own units don't count as available",
        "  if known_lines then\n    give_back(known_lines)\n  end\n"
        "  local lines, shortages = {}, nil\n  for i = 1, #wanted do",
        "  local lines, shortages = {}, nil\n  for i = 1, #wanted + 1 do\n"
        "    if i > #wanted then\n      give_back(known_lines or {})\n      break\n    end",
    ),
    Fault(
        "the same id with other content is taken for a repeat",
        "return reservation[FINGERPRINT] == command.fingerprint\n    and",
        "return",
    ),
    Fault(
        "a caller's key is not remembered",
        "    mark_seen(caller_key(command, staged_reservations[command.reservation_id]))",
        "",
    ),
    Fault(
        "a key given for an earlier cart answers for a later one of the same id",
        "command.reservation_id .. SEPARATOR .. integer(reservation[CREATED_AT])",
        "command.reservation_id",
    ),
    Fault(
        "more is released than was held",
        "if not line or wanted.quantity > line[2] then",
        "if not line then",
    ),
    Fault(
        "a lapsed hold forgets what it held",
        "line[LAPSED], line[RESERVED] = line[RESERVED], 0",
        "line[LAPSED], line[RESERVED] = 0, 0",
    ),
    Fault(
        "the clock goes back", "now = max(clock(), tonumber(meta[4]), rotated_at)", "now = clock()"
    ),
    Fault(
        "a repeat inside one batch is not known",
        "    seen[key], new_seen[key] = true, true",
        "    new_seen[key] = true",
    ),
    Fault(
        "a caller's retry inside one batch is not known",
        "    seen[staged_seen[i]], new_seen[staged_seen[i]] = true, true",
        "    new_seen[staged_seen[i]] = true",
    ),
    Fault(
        "an entry does not say that a fact was absorbed",
        "head[8], head[9] = noted, status or ''",
        "head[8], head[9] = noted, ''",
    ),
    Fault(
        "an entry leaves out a caller's key",
        "head[10] = staged_seen[1] and staged_seen",
        "head[10] = nil",
    ),
    Fault(
        "a closed reservation is kept for ever",
        "reservation[CLOSED_AT], reservation[KEPT_UNTIL] = now, now + window_ms",
        "reservation[CLOSED_AT], reservation[KEPT_UNTIL] = now, 0",
    ),
    Fault(
        "an order names a reservation that is forgotten",
        "      order[RESERVATION_IDS] = kept\n",
        "",
    ),
    Fault(
        "what is forgotten leaves the deadline behind",
        "new_deadlines['r' .. name] = reservation and reservation_due_at(reservation)",
        "new_deadlines['r' .. name] = reservation and reservation_due_at(reservation) or nil",
    ),
    Fault(
        "a SKU's locations stand as they came",
        "known[place] and is_before(known[place], location) do",
        "known[place] do",
    ),
    Fault(
        "an entry does not follow the one before",
        "redis.sha1hex(digest .. id .. body)",
        "redis.sha1hex(id .. body)",
    ),
    Fault(
        "a cancelled order's units stay allocated",
        "    level[LEVEL_ALLOCATED] = level[LEVEL_ALLOCATED] - units\n    line[ALLOCATED]",
        "    line[ALLOCATED]",
    ),
    Fault(
        "a snapshot corrects what was to be reviewed",
        "if beyond and command.policy == 'correct' then",
        "if beyond then",
    ),
    Fault(
        "a snapshot misses units sold since it was taken",
        "local difference = command.quantity + (command.deltas_after or 0)",
        "local difference = command.quantity",
    ),
    Fault(
        "a difference that is tolerated is corrected",
        "difference > (command.tolerance or 0) or -difference > (command.tolerance or 0)",
        "difference >= (command.tolerance or 0) or -difference >= (command.tolerance or 0)",
    ),
    Fault(
        "a snapshot that agrees leaves the old difference open",
        "if not beyond or command.policy == 'correct' then",
        "if beyond and command.policy == 'correct' then",
    ),
    Fault(
        "a snapshot's difference leaves no record",
        "    elseif noted[1] then\n      head[8] = noted",
        "    elseif false then\n      head[8] = noted",
    ),
    Fault(
        "a repair that comes twice is added twice",
        "    and extras.repaired_at == found[EXTRAS].repaired_at\nend",
        "end",
        damaged=True,
    ),
    Fault(
        "a late repair undoes what was sold since",
        "level[VERSION] == found[VERSION] and level[UPDATED_AT] == found[UPDATED_AT]",
        "true",
        damaged=True,
    ),
    Fault(
        "a repair counts as a movement of stock",
        "  put_level(name, level)\n  note_sign",
        "  put_level(name, level)\n  were_on_hand[#touched_levels] = was\n  note_sign",
        damaged=True,
    ),
    Fault(
        "a repair leaves a count in flight valid",
        "  level[MOVES] = level[MOVES] + 1\n  put_level",
        "  put_level",
        damaged=True,
    ),
    Fault(
        "a repaired level is missing from its SKU's locations",
        "  if has_level then\n    mended[#mended + 1] = location\n  end\n",
        "",
        damaged=True,
    ),
    Fault(
        "a late repair overwrites a reservation that has changed",
        "elseif readable and (known and known[SEQ] or nil) ~= command.found_seq then",
        "elseif false then",
        damaged=True,
    ),
    Fault(
        "a repaired hold never lapses",
        "new_deadlines['r' .. name] = reservation and reservation_due_at(reservation)",
        "new_deadlines['r' .. name] = reservation and command.type ~= 'repair_reservation'\n"
        "      and reservation_due_at(reservation)",
        damaged=True,
    ),
    Fault(
        "a late repair overwrites an order that has changed",
        "if readable and not same(known, command.found) then",
        "if false then",
        damaged=True,
    ),
    Fault(
        "one damaged level fails the whole batch",
        "local sound, level = pcall(unpack_level, blobs[i])",
        "local sound, level = true, unpack_level(blobs[i])",
        damaged=True,
    ),
    Fault(
        "one damaged reservation fails the whole batch",
        "local sound, reservation = pcall(unpack_as, 'reservation', blob)",
        "local sound, reservation = true, unpack_as('reservation', blob)",
        damaged=True,
    ),
    Fault(
        "a damaged hold keeps others from lapsing",
        "if not pcall(meet_deadline, member, reservation_ids, order_ids) then",
        "if meet_deadline(member, reservation_ids, order_ids) then",
        damaged=True,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.breaks.replace(" ", "-"))
def test_a_planted_fault_is_caught(unsynced_redis: Redis, fault: Fault) -> None:
    sound = script_in_hand()
    stands, planted_lua = with_numbers(fault.stands), with_numbers(fault.planted)
    assert sound.count(stands) == 1, "the fault's place in the script is gone or ambiguous"
    planted = sound.replace(stands, planted_lua)

    def is_caught(history: list[Step]) -> bool:
        try:
            play(unsynced_redis, planted, history)
        except (Disagreement, ResponseError):
            return True
        return False

    find(
        damaged_histories if fault.damaged else histories,
        is_caught,
        settings=settings(
            max_examples=HISTORIES_AT_MOST,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
