"""Validate, count, answer."""

from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devtools.bench.peers.counting import count_many, count_many_once, count_one
from devtools.bench.peers.serializers import EventSerializer


def answer_health(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


class EventView(APIView):
    def post(self, request: Request) -> Response:
        serializer = EventSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        count_one(serializer.validated_data)
        return Response({"accepted": 1}, status=201)


class BatchView(APIView):
    count = staticmethod(count_many)

    def post(self, request: Request) -> Response:
        serializer = EventSerializer(data=request.data, many=True)
        serializer.is_valid(raise_exception=True)
        self.count(serializer.validated_data)
        return Response({"accepted": len(serializer.validated_data)}, status=201)


class CheckedBatchView(BatchView):
    count = staticmethod(count_many_once)
