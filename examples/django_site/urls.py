"""The two pages of the site."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.urls import path


def visit(request: HttpRequest) -> JsonResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


def order(request: HttpRequest, number: int) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT article FROM orders WHERE number = %s", [number])
        (article,) = cursor.fetchone()
    return JsonResponse({"number": number, "article": article})


urlpatterns = [path("visits", visit), path("orders/<int:number>", order)]
