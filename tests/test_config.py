"""Settings that won't do stop the start by name; the rest mean what they say."""

import pytest

from atp_service.config import Settings, SettingsError, read_settings


def test_nothing_set_is_a_start_on_loopback() -> None:
    assert read_settings({"HOME": "/root"}) == Settings(host="127.0.0.1", port=8080, data=".atp")


def test_values_are_typed() -> None:
    settings = read_settings({"ATP_PORT": "0", "ATP_AUTO_CREATE": "true", "ATP_LOG_LEVEL": "debug"})
    assert (settings.port, settings.auto_create, settings.log_level) == (0, True, "debug")


def test_an_empty_setting_is_one_left_out() -> None:
    assert read_settings({"ATP_REDIS_URL": "", "ATP_PORT": " "}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATP_PORT", "eighty"),
        ("ATP_PORT", "65536"),
        ("ATP_AUTO_CREATE", "perhaps"),
        ("ATP_DEDUPE_HOURS", "0"),
        ("ATP_LOG_LEVEL", "loud"),
        ("ATP_REDIS_URL", "127.0.0.1:6379"),
        ("ATP_NATS_URL", "http://127.0.0.1:4222"),
        ("ATP_DATABASE_URL", "mysql://127.0.0.1/atp"),
    ],
)
def test_a_wrong_value_is_named_with_what_to_set(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name}.*\nSet it to ") as refused:
        read_settings({name: value})
    assert "Set it to " in str(refused.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "shop.example"])
def test_only_loopback_is_served_without_api_keys(host: str) -> None:
    with pytest.raises(SettingsError, match=r"ATP_HOST=.*API keys"):
        read_settings({"ATP_HOST": host})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_is_served(host: str) -> None:
    assert read_settings({"ATP_HOST": host}).host == host


@pytest.mark.parametrize("name", ["ATP_PROT", "ATP_LOGLEVEL", "ATP_DEDUP_HOURS"])
def test_a_slip_of_the_finger_is_told(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not a setting"):
        read_settings({name: "1"})


def test_a_misspelt_setting_is_not_passed_over() -> None:
    with pytest.raises(SettingsError, match=r"ATP_REDIS_URI is not a setting.*\n.*ATP_REDIS_URL"):
        read_settings({"ATP_REDIS_URI": "redis://127.0.0.1"})


def test_a_password_in_a_wrong_address_is_not_shown() -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"ATP_DATABASE_URL": "mysql://atp:secret@127.0.0.1/atp"})
    assert "secret" not in str(refused.value)


def test_a_variable_that_resembles_no_setting_is_somebody_elses() -> None:
    assert read_settings({"ATP_BASE_URL": "http://shop", "ATP_PORT": "9"}).port == 9


def test_where_a_change_has_to_be_before_it_is_answered_can_be_set_for_all() -> None:
    assert read_settings({}).durability == "redis"
    assert read_settings({"ATP_DURABILITY": "ledger"}).durability == "ledger"
    with pytest.raises(SettingsError, match=r"ATP_DURABILITY=disk.*\n.*redis or ledger"):
        read_settings({"ATP_DURABILITY": "disk"})
