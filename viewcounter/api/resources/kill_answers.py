"""Kills: as JSON objects, as the OpenAPI document describes them, and the cursor of their pages."""

from datetime import datetime

from django.core import signing
from rest_framework import serializers

from shardproxy.kill_plan import FOREIGN, KillAction, KillReason
from shardproxy.query import QueryClass
from viewcounter.api.answers import Json
from viewcounter.queries.errors import InvalidQuery
from viewcounter.shardwatch.kills import KillPage, KillPlace
from viewcounter.shardwatch.models import Kill

SESSION_CLASSES = (*(query_class.value for query_class in QueryClass), FOREIGN)
_SALT = "viewcounter.kills"


class KillSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    at = serializers.DateTimeField(help_text="By the clock of the instance.")
    shard = serializers.CharField()
    instance = serializers.CharField()
    action = serializers.ChoiceField(
        choices=list(KillAction), help_text="`cancel`: the statement was ended; `terminate`: the session."
    )
    reason = serializers.ChoiceField(choices=list(KillReason))
    session_class = serializers.ChoiceField(
        choices=SESSION_CLASSES, help_text="The query class, or `foreign`: it did not come through our pools."
    )
    age_seconds = serializers.FloatField(help_text="Of the statement, of the pause, or of the transaction (blocking).")
    budget_seconds = serializers.FloatField(help_text="What it was allowed.")
    pid = serializers.IntegerField()
    since = serializers.DateTimeField(help_text="When the statement, or the pause, began.")
    user = serializers.CharField()
    application = serializers.CharField()
    client_address = serializers.IPAddressField(allow_null=True, help_text="Null: over a socket of the same host.")
    fingerprint = serializers.CharField(
        help_text="PostgreSQL's query id, as in pg_stat_statements: the same for all that differ in values only."
    )
    statement = serializers.CharField(help_text="Without values; the last statement, where a pause was ended.")


class KillPageSerializer(serializers.Serializer):
    kills = KillSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Asks for the next page; null on the last.")


def encode_page(page: KillPage) -> Json:
    return {"kills": [_encode_kill(kill) for kill in page.kills], "next_cursor": _encode_cursor(page.following)}


def decode_cursor(cursor: str | None) -> KillPlace | None:
    """Raises InvalidQuery for one that this service did not make."""
    if cursor is None:
        return None
    try:
        at, row_id = signing.loads(cursor, salt=_SALT)
    except signing.BadSignature:
        raise InvalidQuery("cursor", "invalid_cursor", "must be the next_cursor of an earlier answer") from None
    return KillPlace(datetime.fromisoformat(at), row_id)


def _encode_cursor(place: KillPlace | None) -> str | None:
    return None if place is None else str(signing.dumps([place.at.isoformat(), place.id], salt=_SALT))


def _encode_kill(kill: Kill) -> Json:
    return {
        "id": kill.pk,
        "at": kill.at,
        "shard": kill.shard,
        "instance": kill.instance,
        "action": kill.action,
        "reason": kill.reason,
        "session_class": kill.session_class,
        "age_seconds": kill.age_seconds,
        "budget_seconds": kill.budget_seconds,
        "pid": kill.pid,
        "since": kill.since,
        "user": kill.user,
        "application": kill.application,
        "client_address": kill.client_address,
        "fingerprint": kill.fingerprint,
        "statement": kill.statement,
    }
