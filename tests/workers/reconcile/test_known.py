"""What a run remembers of the ledger's names."""

from atp_service.workers.reconcile.name_set import Known


def test_a_name_is_known_once_it_was_seen() -> None:
    known = Known()
    known.add(["SKU-1", "SKU-1\x1fDC-1"])
    assert "SKU-1\x1fDC-1" in known
    assert "SKU-1\x1fDC-2" not in known


def test_beyond_the_most_the_ledger_is_asked() -> None:
    known = Known(most=2)
    known.add(["SKU-1", "SKU-2"])
    known.add(["SKU-3"])
    assert "SKU-3" not in known
