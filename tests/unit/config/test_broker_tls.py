"""What Celery is told of a broker by its address."""

import ssl

import pytest

from viewcounter.config.broker_tls import split_broker_url


def test_a_broker_without_tls_is_left_as_it_is():
    assert split_broker_url("redis://:secret@broker:6379/0") == ("redis://:secret@broker:6379/0", None)


def test_a_broker_with_tls_is_verified_unless_its_address_says_otherwise():
    url, options = split_broker_url("rediss://user:secret@broker:6380/0?ssl_ca_certs=/tls/ca.pem&ssl_keyfile=/k")
    assert url == "rediss://user:secret@broker:6380/0"
    assert options == {
        "ssl_ca_certs": "/tls/ca.pem",
        "ssl_keyfile": "/k",
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
    }


def test_verification_can_be_given_up_by_name_only():
    _, options = split_broker_url("rediss://broker/0?ssl_cert_reqs=none")
    assert options == {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}
    with pytest.raises(ValueError, match="ssl_cert_reqs is required, optional or none, not 'maybe'"):
        split_broker_url("rediss://broker/0?ssl_cert_reqs=maybe")
