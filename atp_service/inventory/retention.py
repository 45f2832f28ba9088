"""How long Redis keeps a reservation or an order, and when it is due.

Their images say so: neither a clock nor a setting is needed to read them. The script states the
same rules in `lua/retention.lua`. Times are Unix milliseconds.
"""

from atp_service.inventory.reservations import Order, Standing


def reservation_due_at(reservation: Standing) -> int | None:
    """When a reservation is due: a live hold lapses, a closed one is forgotten. None: never."""
    if reservation.status == "held":
        return reservation.expires_at
    return reservation.kept_until or None


def order_due_at(order: Order) -> int | None:
    """When an order that waits for its confirm is forgotten. None: its reservations decide."""
    return order.kept_until or None


def has_lapsed(reservation: Standing, now_ms: int) -> bool:
    return reservation.status == "held" and reservation.expires_at <= now_ms


def is_forgotten(reservation: Standing, now_ms: int) -> bool:
    """Whether its time is over. Redis has it until an entry says that it is gone."""
    return 0 < reservation.kept_until <= now_ms
