from __future__ import annotations

pytest_plugins = ["onfly.testing.fixtures"]
