"""The ledger's names that a run keeps."""

from atp_service.workers.reconcile.name_set import NameSet


def test_a_name_that_was_added_is_known() -> None:
    known = NameSet()
    known.add(["SKU-1", "SKU-1\x1fDC-1"])
    assert "SKU-1\x1fDC-1" in known
    assert "SKU-1\x1fDC-2" not in known


def test_beyond_the_most_the_ledger_is_asked() -> None:
    known = NameSet(most=2)
    known.add(["SKU-1", "SKU-2"])
    known.add(["SKU-3"])
    assert "SKU-3" not in known
