"""gunicorn with a certificate that is replaced while it serves: ``gunicorn app:wsgi``."""

from secretbridge.adapters.tls import gunicorn_ssl_context

ssl_context = gunicorn_ssl_context("tls_cert", "tls_key")
certfile = "/dev/null"  # says that TLS is wanted; the hook above is what loads a certificate
workers = 2
