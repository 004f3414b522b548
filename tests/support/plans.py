"""How PostgreSQL would run what a test makes it run."""

import re

from django.db import connection

EMPTY = re.escape("(cost=0.00..0.00")  # as PostgreSQL says of a partition without a page


class Explain:
    """Keeps PostgreSQL's plan for the claim that is made under it."""

    plan = ""

    def __call__(self, execute, sql, params, many, context):
        if "WITH candidates" in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                self.plan = "\n".join(line for (line,) in cursor.fetchall())
        return execute(sql, params, many, context)

    def reads_all_of(self, table: str) -> bool:
        return re.search(f"Seq Scan on {table}(?!.*{EMPTY})", self.plan) is not None
