"""The database backend that :func:`secretbridge.adapters.django.database` names."""
