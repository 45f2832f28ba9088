"""Promises: hold, replace, extend, confirm, release, fulfil, no-pick, without HTTP."""

from atp_service.promises.service import Promise, Promises, UnknownName

__all__ = ["Promise", "Promises", "UnknownName"]
