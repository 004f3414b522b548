"""What every test may use. The database comes from tests/support/database.py, which pyproject.toml loads."""

pytest_plugins = ["tests.support.browser", "tests.support.languages", "tests.support.redis"]
