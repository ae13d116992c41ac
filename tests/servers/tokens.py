"""Signed tokens (JWT, RFC 7519) and the party that vouches for those of Kubernetes."""

from __future__ import annotations

import json
import ssl
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

__all__ = ["Reviewer", "Signer", "claims_of"]


class Signer:
    """A key that signs tokens with ES256."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        pem = self._key.public_key().public_bytes(serialization.Encoding.PEM, form)
        self.public_key = pem.decode()

    def token(self, seconds: int = 600, **claims: Any) -> str:
        """Return a token that ends ``seconds`` from now."""
        now = int(time.time())
        times = {"iat": now - 10, "nbf": now - 10, "exp": now + seconds}
        parts = [{"alg": "ES256", "typ": "JWT"}, {**times, **claims}]
        signed = ".".join(_encode(json.dumps(part).encode()) for part in parts)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def service_account(self, namespace: str, name: str, seconds: int = 600) -> str:
        """Return a token as Kubernetes gives it to the pods of a service account."""
        account = {"name": name, "uid": f"uid-of-{name}"}
        return self.token(
            seconds,
            iss="kubernetes/serviceaccount",
            sub=f"system:serviceaccount:{namespace}:{name}",
            aud=["https://kubernetes.default.svc"],
            **{"kubernetes.io": {"namespace": namespace, "serviceaccount": account}},
        )


def claims_of(token: str, keys: list[str], now: float) -> dict[str, Any] | None:
    """Return the claims of a token that one of ``keys`` signed and that has not ended, or None."""
    head, _, signature = token.rpartition(".")
    try:
        raw = _decode(signature)
        halves = (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        claims = json.loads(_decode(head.partition(".")[2]))
    except ValueError:
        return None
    for pem in keys:
        key = serialization.load_pem_public_key(pem.encode())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        try:
            key.verify(encode_dss_signature(*halves), head.encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return claims if claims.get("exp", 0) > now else None
    return None


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Reviewer:
    """As much of Kubernetes' API as reviews a token: it vouches for whatever ``signer`` signed."""

    def __init__(self, signer: Signer, certificate: tuple[Path, Path]) -> None:
        self.reviews = 0

        class Request(BaseHTTPRequestHandler):
            def do_POST(request) -> None:  # noqa: N805
                self.reviews += 1
                body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
                answer = json.dumps(_review(body["spec"]["token"], signer)).encode()
                request.send_response(201)
                request.send_header("Content-Type", "application/json")
                request.send_header("Content-Length", str(len(answer)))
                request.end_headers()
                request.wfile.write(answer)

            def log_message(request, *_: object) -> None:  # noqa: N805
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"https://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Reviewer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _review(token: str, signer: Signer) -> dict[str, Any]:
    claims = claims_of(token, [signer.public_key], time.time())
    status: dict[str, Any] = {"authenticated": claims is not None}
    if claims is not None:
        account = claims["kubernetes.io"]["serviceaccount"]
        status["user"] = {"username": claims["sub"], "uid": account["uid"], "groups": []}
        status["audiences"] = claims["aud"]
    kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    return {**kind, "status": status}
