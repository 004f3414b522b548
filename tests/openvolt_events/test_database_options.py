"""What every connection is opened with."""

import pytest
from django.db import connection


@pytest.mark.django_db
def test_no_plan_prunes_partitions_as_it_runs_for_postgresql_18_crashes_when_it_checks_a_row_again():
    with connection.cursor() as cursor:
        cursor.execute("SHOW enable_partition_pruning")
        assert cursor.fetchone() == ("off",)


def test_a_database_that_went_silent_is_noticed_in_seconds():
    options = connection.settings_dict["OPTIONS"]

    assert options["tcp_user_timeout"] <= 30_000
    assert options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"] <= 30
