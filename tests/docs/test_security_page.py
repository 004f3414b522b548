"""Each threat in docs/security.md names what shows that it is stopped, and that is there."""

from tests.support.pages import existing_tests, named_tests, table, text_of

PAGE = text_of("security.md")


def test_each_threat_names_a_test():
    threats = table(PAGE, "somebody")

    assert len(threats) > 20
    assert [row["somebody"] for row in threats if not named_tests(row["shown by"])] == []


def test_every_test_that_the_page_names_is_there():
    assert named_tests(PAGE) - existing_tests() == set()


def test_every_test_that_the_page_on_reliability_names_is_there():
    assert named_tests(text_of("reliability.md")) - existing_tests() == set()
