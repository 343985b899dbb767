"""The URLs that say where messages come from."""

from __future__ import annotations

import pytest

from sendoff.consuming.source import Broker, parse_source
from sendoff.errors import Invalid


def test_a_queue_of_rabbitmq() -> None:
    source = parse_source("amqp://ada:se%40cret@rabbit.example/billing?queue=orders&dead_letter=failed")
    assert (source.broker, source.place, source.servers) == (Broker.RABBITMQ, "orders", ("rabbit.example:5672",))
    assert (source.username, source.password, source.virtual_host) == ("ada", "se@cret", "billing")
    assert (source.name, source.dead_letter, source.tls) == ("rabbitmq:orders", "failed", False)


def test_a_stream_of_a_cluster_of_nats() -> None:
    source = parse_source("nats+tls://a.example,b.example:4333?stream=ORDERS&consumer=webhooks&subject=orders.*")
    assert (source.broker, source.place, source.tls) == (Broker.NATS, "ORDERS", True)
    assert source.servers == ("a.example:4222", "b.example:4333")
    assert source.options == {"consumer": "webhooks", "subject": "orders.*"}


def test_a_topic_of_kafka() -> None:
    source = parse_source("kafka://u:p@[::1]:9093,k2?topic=orders&group=g&sasl=SCRAM-SHA-512")
    assert (source.broker, source.servers) == (Broker.KAFKA, ("[::1]:9093", "k2:9092"))
    assert source.options == {"group": "g", "sasl": "SCRAM-SHA-512"}


def test_defaults() -> None:
    assert parse_source("amqps://h?queue=q").servers == ("h:5671",)
    assert parse_source("amqp://h?queue=q").virtual_host == "/"
    assert parse_source("amqp://h/%2F?queue=q").virtual_host == "/"
    assert parse_source("kafka+tls://h?topic=t").servers == ("h:9093",)
    assert parse_source("nats://token@h?stream=s").password is None


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "must be amqp://"),
        ("redis://h?queue=q", "must be amqp://"),
        ("amqp://h", "lacks `?queue=NAME`"),
        ("nats://h?stream=", "lacks `?stream=NAME`"),
        ("kafka://h?topik=t", "topik"),
        ("kafka://h?topic=t&topic=u", "twice"),
        ("kafka://h?topic=t&sasl=GSSAPI", "`sasl` must be one of"),
        ("amqp://?queue=q", "names no server"),
        ("amqp://h:x?queue=q", "names no server"),
        ("amqp://a,b?queue=q", "one server"),
        ("amqp://[::1?queue=q", "must be amqp://"),
    ],
)
def test_mistakes_are_named_without_the_credentials(url: str, what: str) -> None:
    url = url.replace("://", "://ada:hunter2@", 1) if "://" in url and not url.endswith("://?queue=q") else url
    with pytest.raises(Invalid) as refused:
        parse_source(url)
    assert what in refused.value.message
    assert "hunter2" not in refused.value.message


def test_a_password_is_in_no_representation() -> None:
    assert "hunter2" not in repr(parse_source("amqp://ada:hunter2@h?queue=q"))
