"""How many can be sold: levels with the policy that applies, by location and by day."""

from atp_service.availability.lookup import (
    Availability,
    AvailabilityRequest,
    Numbers,
    SkuNumbers,
    TooMuch,
)

__all__ = ["Availability", "AvailabilityRequest", "Numbers", "SkuNumbers", "TooMuch"]
