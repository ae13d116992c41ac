"""Orders in Flask: sessions outlive the rotation of their key, queries that of the password."""

from __future__ import annotations

import os

from flask import Flask, session
from sqlalchemy import create_engine, text

from secretbridge.adapters.flask import follow_secret_key
from secretbridge.adapters.sqlalchemy import attach


def create_app() -> Flask:
    app = Flask(__name__)
    follow_secret_key(app, "flask_key")
    engine = create_engine(os.environ.get("ORDERS_DATABASE", "postgresql+psycopg://app@db/orders"))
    attach(engine, "db_password")

    @app.post("/visits")
    def visit() -> dict[str, int]:
        session["visits"] = session.get("visits", 0) + 1
        return {"visits": session["visits"]}

    @app.get("/orders/<int:number>")
    def order(number: int) -> dict[str, object]:
        query = text("SELECT article FROM orders WHERE number = :number")
        with engine.connect() as connection:
            row = connection.execute(query, {"number": number}).one()
        return {"number": number, "article": row.article}

    return app
