from datetime import timedelta

from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from deliveries.settling import next_wait

schedules = st.lists(st.timedeltas(timedelta(0), timedelta(days=1)), min_size=1, max_size=20)
chances = st.floats(0, 1)


@given(schedules, chances, st.data())
def test_a_retry_is_never_early_or_late_by_more_than_a_fifth(schedule, chance, data):
    attempt = data.draw(st.integers(1, len(schedule)))

    wait = next_wait(schedule, attempt, None, chance)

    nominal, rounding = schedule[attempt - 1], timedelta(microseconds=2)
    assert nominal * 0.8 - rounding <= wait <= nominal * 1.2 + rounding


@given(schedules, chances, st.integers(1, 5))
def test_after_the_last_wait_there_is_no_further_attempt(schedule, chance, beyond):
    assert next_wait(schedule, len(schedule) + beyond, timedelta(hours=1), chance) is None


@given(schedules, chances, st.timedeltas(timedelta(0), timedelta(days=999)))
def test_retry_after_only_moves_the_next_attempt_later_and_by_a_day_at_most(schedule, chance, retry_after):
    plain = next_wait(schedule, 1, None, chance)

    wait = next_wait(schedule, 1, retry_after, chance)

    assert wait == max(plain, min(retry_after, timedelta(hours=24)))


@given(schedules, chances, st.none() | st.timedeltas(timedelta(0), timedelta(days=999)), st.data())
def test_whatever_a_receiver_asks_for_a_retry_comes_within_bounds(schedule, chance, retry_after, data):
    attempt = data.draw(st.integers(1, len(schedule)))

    wait = next_wait(schedule, attempt, retry_after, chance)

    nominal, rounding = schedule[attempt - 1], timedelta(microseconds=2)
    assert nominal * 0.8 - rounding <= wait <= max(nominal * 1.2 + rounding, timedelta(hours=24))


def test_the_default_schedule_makes_ten_attempts_over_about_75_hours():
    assert [step.total_seconds() for step in settings.RETRY_SCHEDULE] == [
        5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400,
    ]  # fmt: skip
    assert timedelta(hours=75) < sum(settings.RETRY_SCHEDULE, timedelta()) < timedelta(hours=76)
