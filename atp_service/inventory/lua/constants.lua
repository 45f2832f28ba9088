-- Names of numbers, the places in arrays most of all. The joiner writes the numbers in their stead:
-- as variables they would be captured anew by every function at every call.

-- A level, packed as it is.
ON_HAND = 1
LEVEL_RESERVED = 2
LEVEL_ALLOCATED = 3
VERSION = 4
MOVES = 5
UPDATED_AT = 6
EXTRAS = 7

-- A reservation.
STATUS = 1
GENERATION = 2
CHANNEL = 3
CUSTOMER = 4
ORDER = 5
CREATED_AT = 6
EXPIRES_AT = 7
CLOSED_AT = 8
KEPT_UNTIL = 9
FINGERPRINT = 10
OUTCOME = 11
SEQ = 12
LINES = 13

-- A line of it.
LINE_ID = 1
SKU = 2
LOCATION = 3
QUANTITY = 4
RESERVED = 5
ALLOCATED = 6
FULFILLED = 7
RELEASED = 8
SAFETY_STOCK = 9
LAPSED = 10

-- An order.
RESERVATION_IDS = 1
EARLY = 2
ORDER_KEPT_UNTIL = 3

RULES = 1 -- that decide here; each entry carries the number
LARGEST = 9007199254740991 -- 2^53 - 1: beyond it a Lua number loses units
EARLY_KEPT = 100 -- rows of an order's early sales; what is beyond is a plain sale
SETTLED_DOCUMENTS_KEPT = 16 -- of a level, for news that comes late
DUE_READ = 101 -- deadlines read once per batch: what one call reaps at most, and one to see more
WORK_A_CALL = 2000 -- lines and levels changed in one call, beyond which it reaps no more: a few ms
REAPED_FOR_PROMISES = 50 -- so that a refusal stays within a few ms; beyond it: again
VALUES_AT_ONCE = 1000 -- per call: unpack fails near 8,000
DAMAGED_REST_MS = 60000 -- until a deadline is looked at again behind which something is damaged
