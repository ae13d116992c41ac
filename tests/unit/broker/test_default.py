"""The process-wide broker behind the functions of the package."""

from __future__ import annotations

import asyncio


def test_the_module_functions_use_the_configuration_that_is_found(tmp_path, monkeypatch):
    import secretbridge
    from secretbridge._broker import start

    (tmp_path / "db_password").write_text("from-a-file\n")
    config = tmp_path / "secretbridge.yaml"
    config.write_text(
        f"stores: {{file: {{backend: file, roots: [{tmp_path}]}}}}\n"
        "secrets: {db_password: 'file:db_password'}\n"
    )
    monkeypatch.setenv("SECRETBRIDGE_CONFIG", str(config))
    monkeypatch.setattr(secretbridge, "_default", None)
    monkeypatch.setattr(start, "_broker", None)
    assert secretbridge.get("db_password").reveal() == "from-a-file"
    assert asyncio.run(secretbridge.aget("db_password")) is secretbridge.get("db_password")
    assert secretbridge.get_many(["db_password"])["db_password"].reveal() == "from-a-file"
    secretbridge._default.close()
