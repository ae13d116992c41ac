"""Flask: a ``SECRET_KEY`` that rotates.

    from secretbridge.adapters.flask import follow_secret_key

    app = Flask(__name__)
    follow_secret_key(app, "flask_key")

Sessions that were signed with a former key stay valid by ``SECRET_KEY_FALLBACKS`` (Flask 3.1 and newer).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._login import Key, bound
from ._signing import SigningKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Flask

    from ..broker import Broker

__all__ = ["follow_secret_key"]


def follow_secret_key(
    app: Flask,
    key: Key,
    *,
    former: Sequence[Key] = (),
    keep: int = 2,
    broker: Broker | None = None,
) -> Callable[[], None]:
    """Set the key of ``app`` and its fallbacks, now and after each rotation; return what ends it.

    ``former`` are secrets in which the store keeps former values, for processes that start after a
    rotation; ``keep`` is how many that were current in this process are kept besides.
    """

    def take(current: str, former: list[str]) -> None:
        # The fallbacks first: between the two assignments both keys have to be known.
        before = app.config["SECRET_KEY"]
        app.config["SECRET_KEY_FALLBACKS"] = [before, *former] if before else former
        app.config["SECRET_KEY"] = current
        app.config["SECRET_KEY_FALLBACKS"] = former

    keys = SigningKeys(bound(key, broker), [bound(each, broker) for each in former], keep)
    return keys.follow(take)
