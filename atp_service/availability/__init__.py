"""How many can be sold: levels with the policy that applies, by location and by day."""

from atp_service.availability.lookup import Availability, Numbers, Question, SkuNumbers, TooMuch

__all__ = ["Availability", "Numbers", "Question", "SkuNumbers", "TooMuch"]
