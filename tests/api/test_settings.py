"""The settings read from the environment, and the variables it must have."""

import pytest

from api.settings import MAX_BODY_BYTES, SECRETS, Limits, SettingsError, load_settings

KEY = "an internal key of 32 characters"
SECRET = "a session secret of 32 characters"
GOOD = {"DATABASE_URL": "postgresql:///x", "INTERNAL_API_KEY": KEY, "JWT_SECRET": SECRET}


def test_the_required_ones_are_enough() -> None:
    settings = load_settings(GOOD)
    assert (settings.internal_api_key, settings.jwt_secret) == (KEY, SECRET)
    assert settings.super_admin_api_key is None
    assert settings.super_admin_jwt_secret is None
    assert settings.trigger_secret_key is None
    assert settings.max_body_bytes == MAX_BODY_BYTES


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_missing_or_blank_one_is_named(name: str, value: str | None) -> None:
    environ = {key: text for key, text in {**GOOD, name: value}.items() if text is not None}
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    assert caught.value.names == (name,)
    assert f"`{name}`" in caught.value.message


def test_all_missing_ones_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert caught.value.names == ("DATABASE_URL", "INTERNAL_API_KEY", "JWT_SECRET")


def test_a_blank_optional_one_is_not_set() -> None:
    assert load_settings({**GOOD, "SUPER_ADMIN_API_KEY": " ", "TRIGGER_SECRET_KEY": ""}).super_admin_api_key is None


def test_the_embedded_server_stands_in_for_the_database_url() -> None:
    environ = {name: value for name, value in GOOD.items() if name != "DATABASE_URL"}
    assert load_settings(environ, database_url="postgresql:///embedded").database_url == "postgresql:///embedded"


def test_white_space_around_a_secret_is_not_part_of_it() -> None:
    assert load_settings({**GOOD, "JWT_SECRET": f"{SECRET}\n"}).jwt_secret == SECRET


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e6", "many", "٣"])
def test_a_number_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({**GOOD, "DATA_ENGINE_MAX_BODY_BYTES": text})
    assert caught.value.names == ("DATA_ENGINE_MAX_BODY_BYTES",)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_can_be_guessed_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({**GOOD, name: "only 31 characters long, alas.."})
    assert caught.value.names == (name,)
    assert f"`{name}`" in caught.value.message and "alas" not in str(caught.value)
    assert load_settings({**GOOD, name: "as many as 32 characters, yes..."})


def test_two_keys_and_two_secrets_are_taken_at_a_time() -> None:
    settings = load_settings({**GOOD, "INTERNAL_API_KEY_PREVIOUS": KEY[::-1], "JWT_SECRET_PREVIOUS": SECRET[::-1]})
    assert settings.internal_api_keys == (KEY, KEY[::-1])
    assert settings.jwt_secrets == (SECRET, SECRET[::-1])
    assert load_settings(GOOD).internal_api_keys == (KEY,)


def test_every_limit_has_a_variable() -> None:
    limits = load_settings({**GOOD, "DEX_LIMIT_BODY_SECONDS": "7", "DEX_LIMIT_CONNECTIONS": "3"}).limits
    assert (limits.body_seconds, limits.connections, limits.header_seconds) == (7, 3, Limits().header_seconds)


@pytest.mark.parametrize("text", ["9000", "host:", "host:many", "host:70000", ":1"])
def test_an_address_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({**GOOD, "DEX_OPERATOR_ADDRESS": text})
    assert caught.value.names == ("DEX_OPERATOR_ADDRESS",)


def test_no_secret_is_shown() -> None:
    hush = "hush, this is a secret of the tests"
    shown = repr(load_settings({**GOOD, **dict.fromkeys(SECRETS, hush), "TRIGGER_SECRET_KEY": hush}))
    assert "hush" not in shown
    assert "postgresql" not in shown
