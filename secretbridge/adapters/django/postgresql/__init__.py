"""The database backend that :func:`secretbridge.adapters.django.postgresql` names."""
