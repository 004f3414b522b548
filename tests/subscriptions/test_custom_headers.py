import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscriptions.custom_headers import HeaderRefused, check_headers


def refusal(headers):
    with pytest.raises(HeaderRefused) as refused:
        check_headers(headers)
    assert str(refused.value).endswith(".")
    return refused.value


def test_credentials_and_other_own_headers_are_let_through():
    check_headers(
        {
            "Authorization": "Bearer abc.def",
            "X-Api-Key": "k 1",
            "api-key": "!",
            "ApiKey": "k",
            "x-a": "!",
            "acme-token": "t",
            "CF-Access-Client-Id": "i",
            "ngrok-skip-browser-warning": "1",
            "Private-Token": "t",
            "traceparent": "00-1",
        }
    )
    check_headers({})


@pytest.mark.parametrize(
    "name",
    [
        "webhook-id", "Webhook-Signature", "webhook-anything", "OpenVolt-Event-Id", "openvolt-x", "User-Agent",
        "Content-Type", "content-length", "Content-Encoding", "accept-encoding", "HOST", "Connection",
        "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Keep-Alive", "Proxy-Authorization", "proxy-connection",
        "Expect", "openvolt", "cookie", "Set-Cookie", "via", "date", "from", "Origin", "Range", "If-None-Match",
        "http2-settings", "max-forwards", "content-md5", "Content-Foo", "cache-control", "Sec-Fetch-Mode", "pragma",
        "forwarded", "Forwarded-For", "X-Forwarded-For", "x-forwarded-client-cert", "X-Real-IP", "True-Client-Ip",
        "X-HTTP-Method-Override", "x-original-url", "remote-user", "Proxy", "idempotency-key", "Retry-After",
        "x-middleware-subrequest", "signature", "Signature-Input", "priority", "WWW-Authenticate", "whatever",
    ],
)  # fmt: skip
def test_a_header_of_ours_or_of_the_connection_is_refused_by_name(name):
    refused = refusal({"x-fine": "1", name: "v"})

    assert refused.name == name
    assert name in str(refused)


@pytest.mark.parametrize(
    "name",
    [
        "content_length",
        "webhook_id",
        "x_y",
        "x-a_b",
        "x.y",
        "-x",
        "x-",
        "x--y",
        "",
        " ",
        "x y",
        "x:",
        "x\r\ny",
        "x\n",
        "x\0",
        "naïve",
        "x\u2028",
        "(x)",
        'x"',
        "x/y",
        "x@y",
        "{x}",
    ],
)
def test_a_name_of_no_form_is_refused(name):
    assert refusal({name: "v"}).name == name


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        " hunter2",
        "hunter2 ",
        "hunter2\r\nx: y",
        "hunter2\n",
        "hunter2\0",
        "hunter2\t1",
        "hunter2é",
        "\x7f",
    ],
)
def test_a_value_that_is_not_visible_ascii_is_refused_and_not_repeated(value):
    refused = refusal({"x-key": value})

    assert refused.name == "x-key"
    assert "hunter2" not in str(refused)


def test_a_name_counts_once_whatever_its_case():
    assert refusal({"X-Key": "1", "x-key": "2"}).name == "x-key"


def test_limits_are_named_when_they_are_passed():
    check_headers({f"x-{number}": "v" for number in range(20)})
    check_headers({"x-" + "x" * 98: "v" * 4096})

    assert "20" in str(refusal({f"x-{number}": "v" for number in range(21)}))
    assert "100" in str(refusal({"x-" + "x" * 99: "v"}))
    assert "4096" in str(refusal({"x-a": "v" * 4097}))


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3))
def test_what_is_let_through_can_not_break_out_of_its_line(headers):
    try:
        check_headers(headers)
    except HeaderRefused:
        return

    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    assert lines.isascii()
    assert len(lines.splitlines()) == len(headers)
    assert all(line.partition(": ")[0] in headers for line in lines.splitlines())
