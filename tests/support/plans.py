"""How PostgreSQL would run what a test makes it run."""

from django.db import connection


class Explain:
    """Keeps PostgreSQL's plan for the claim that is made under it."""

    plan = ""

    def __call__(self, execute, sql, params, many, context):
        if "WITH candidates" in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                self.plan = "\n".join(line for (line,) in cursor.fetchall())
        return execute(sql, params, many, context)
