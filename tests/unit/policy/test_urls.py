"""URLs of endpoints: one spelling is accepted, everything ambiguous is refused by a name that does not change."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sendoff.errors import UnsafeUrl
from sendoff.policy.endpoints.addresses import AddressPolicy, check_url, classify

STRICT = AddressPolicy()
LOCAL = AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")), allow_http=True)

ACCEPTED = [
    ("https://example.com", "example.com", 443, "/", "example.com"),
    ("https://example.com/", "example.com", 443, "/", "example.com"),
    ("HTTPS://Example.COM/Hooks", "example.com", 443, "/Hooks", "example.com"),
    ("https://example.com./x", "example.com", 443, "/x", "example.com"),
    ("https://example.com:443/x", "example.com", 443, "/x", "example.com"),
    ("https://example.com:80/x", "example.com", 80, "/x", "example.com:80"),
    ("https://example.com:8443/x?a=1&b=%20", "example.com", 8443, "/x?a=1&b=%20", "example.com:8443"),
    ("https://example.com?a=b/c", "example.com", 443, "/?a=b/c", "example.com"),
    ("https://example.com/a//../b;c", "example.com", 443, "/a//../b;c", "example.com"),
    ("https://example.com/ä?q={x}", "example.com", 443, "/%C3%A4?q=%7Bx%7D", "example.com"),
    ("https://example.com/a@b:c", "example.com", 443, "/a@b:c", "example.com"),
    ("https://bücher.example/x", "xn--bcher-kva.example", 443, "/x", "xn--bcher-kva.example"),
    ("https://xn--bcher-kva.example/x", "xn--bcher-kva.example", 443, "/x", "xn--bcher-kva.example"),
    ("https://a.1password.com/x", "a.1password.com", 443, "/x", "a.1password.com"),
    ("https://My_Hooks.example.com/x", "my_hooks.example.com", 443, "/x", "my_hooks.example.com"),
    ("https://_hooks_.exa_mple.com/", "_hooks_.exa_mple.com", 443, "/", "_hooks_.exa_mple.com"),
    ("https://0x1.example.com/", "0x1.example.com", 443, "/", "0x1.example.com"),
    ("https://8.8.8.8/x", "8.8.8.8", 443, "/x", "8.8.8.8"),
    ("https://[2606:4700:4700::1111]/x", "2606:4700:4700::1111", 443, "/x", "[2606:4700:4700::1111]"),
    ("https://[2606:4700:4700:0:0::1111]:8443", "2606:4700:4700::1111", 8443, "/", "[2606:4700:4700::1111]:8443"),
    ("https://127.0.0.1.example.com/", "127.0.0.1.example.com", 443, "/", "127.0.0.1.example.com"),
]

REFUSED = [
    # not https
    ("http://example.com/", "not_https"),
    ("HTTP://example.com/", "not_https"),
    ("ftp://example.com/", "not_https"),
    ("file:///etc/passwd", "not_https"),
    ("gopher://127.0.0.1:70/", "not_https"),
    ("https+unix://example.com/", "not_https"),
    # not written out
    ("", "malformed"),
    ("example.com", "malformed"),
    ("//example.com/", "malformed"),
    ("https:example.com", "malformed"),
    ("https:/example.com", "malformed"),
    ("javascript:alert(1)", "malformed"),
    # no host
    ("https://", "no_host"),
    ("https:///path", "no_host"),
    ("https://:443/", "no_host"),
    ("https://?x", "no_host"),
    ("https://./", "no_host"),
    ("https://[]/", "no_host"),
    # another host
    ("https://user@example.com/", "userinfo"),
    ("https://user:password@example.com/", "userinfo"),
    ("https://example.com@127.0.0.1/", "userinfo"),
    ("https://127.0.0.1:80@example.com/", "userinfo"),
    ("https://@example.com/", "userinfo"),
    ("https://example.com\\@127.0.0.1/", "backslash"),
    ("https:\\\\127.0.0.1/", "backslash"),
    ("https://example.com/a\\b", "backslash"),
    ("https://example.com#@127.0.0.1/", "fragment"),
    ("https://example.com/#", "fragment"),
    # what no URL holds
    ("https://example.com/\r\nX-Injected: 1", "control_character"),
    ("https://example.com/\n", "control_character"),
    ("\thttps://example.com/", "control_character"),
    ("https://exam\tple.com/", "control_character"),
    ("https://example.com/\x00", "control_character"),
    ("https://example.com/\x7f", "control_character"),
    ("https://example.com/\x85", "control_character"),
    ("https://example.com/\u2028", "control_character"),
    ("https://exam\u00adple.com/", "control_character"),
    ("https://exam\u200bple.com/", "control_character"),
    ("https://exam\u200dple.com/", "control_character"),
    ("https://\ufeffexample.com/", "control_character"),
    ("https://example.com/\ud800", "control_character"),
    ("https://example.com/\u202e", "control_character"),
    (" https://example.com/", "whitespace"),
    ("https://example.com/ x", "whitespace"),
    ("https://exam ple.com/", "whitespace"),
    ("https://127.0.0.1 .example.com/", "whitespace"),
    ("https://example.com/\u00a0", "whitespace"),
    ("https://example.com/\u3000", "whitespace"),
    # ports
    ("https://example.com:/", "bad_port"),
    ("https://example.com:0/", "bad_port"),
    ("https://example.com:0443/", "bad_port"),
    ("https://example.com:+443/", "bad_port"),
    ("https://example.com:65536/", "bad_port"),
    ("https://example.com:99999999999999999999/", "bad_port"),
    ("https://example.com:4_43/", "bad_port"),
    ("https://example.com:٤٤٣/", "bad_port"),
    ("https://example.com:x/", "bad_port"),
    ("https://example.com:22/", "refused_port"),
    ("https://example.com:25/", "refused_port"),
    ("https://example.com:53/", "refused_port"),
    ("https://example.com:81/", "refused_port"),
    ("https://example.com:1023/", "refused_port"),
    ("https://example.com:2375/", "refused_port"),
    ("https://example.com:3306/", "refused_port"),
    ("https://example.com:5432/", "refused_port"),
    ("https://example.com:6000/", "refused_port"),
    ("https://example.com:6063/", "refused_port"),
    ("https://example.com:6379/", "refused_port"),
    ("https://example.com:6667/", "refused_port"),
    ("https://example.com:9200/", "refused_port"),
    ("https://example.com:10250/", "refused_port"),
    ("https://example.com:11211/", "refused_port"),
    ("https://example.com:27017/", "refused_port"),
    # hosts that cannot be read
    ("https://b\u00fc_cher.example/", "bad_host"),
    ("https://_-.example.com/", "bad_host"),
    ("https://127.0.0.1_/", "ambiguous_host"),
    ("https://-example.com/", "bad_host"),
    ("https://example-.com/", "bad_host"),
    ("https://example..com/", "bad_host"),
    ("https://.example.com/", "bad_host"),
    ("https://example.com../", "bad_host"),
    ("https://exa$mple.com/", "bad_host"),
    ("https://exa,mple.com/", "bad_host"),
    ("https://ex<ample.com/", "bad_host"),
    (f"https://{'a' * 64}.com/", "bad_host"),
    (f"https://{'a.' * 127}com/", "bad_host"),
    ("https://☃.com/", "bad_host"),
    ("https://[::1/", "bad_host"),
    ("https://::1/", "bad_host"),
    ("https://example.com:443:443/", "bad_host"),
    ("https://2606:4700::1/", "bad_host"),
    ("https://[example.com]/", "bad_host"),
    ("https://[v1.fe80]/", "bad_host"),
    ("https://[127.0.0.1]/", "bad_host"),
    ("https://[::1]x/", "bad_host"),
    ("https://x[::1]/", "bad_host"),
    ("https://[::ffff:0x7f.1]/", "bad_host"),
    # other spellings of addresses
    ("https://2130706433/", "ambiguous_host"),
    ("https://017700000001/", "ambiguous_host"),
    ("https://0x7f000001/", "ambiguous_host"),
    ("https://0X7F000001/", "ambiguous_host"),
    ("https://0x/", "ambiguous_host"),
    ("https://0/", "ambiguous_host"),
    ("https://127.1/", "ambiguous_host"),
    ("https://127.0.1/", "ambiguous_host"),
    ("https://0177.0.0.1/", "ambiguous_host"),
    ("https://127.0.0.01/", "ambiguous_host"),
    ("https://127.0.0.1e0/", "ambiguous_host"),
    ("https://127.0.0.0x7f000001l/", "ambiguous_host"),
    ("https://example.1com/", "ambiguous_host"),
    ("https://0x7f.0.0.1/", "ambiguous_host"),
    ("https://127.0.0.0x1/", "ambiguous_host"),
    ("https://127.0.0.1./", "ambiguous_host"),
    ("https://8.8.8.8./", "ambiguous_host"),
    ("https://256.256.256.256/", "ambiguous_host"),
    ("https://127.0.0.1.1/", "ambiguous_host"),
    ("https://example.com.1/", "ambiguous_host"),
    ("https://foo.0x7f/", "ambiguous_host"),
    ("https://127。0。0。1/", "ambiguous_host"),
    ("https://127．0．0．1/", "ambiguous_host"),
    ("https://127｡0｡0｡1/", "ambiguous_host"),
    ("https://ｌocalhost/", "ambiguous_host"),
    ("https://ⓛocalhost/", "ambiguous_host"),
    ("https://ﬁle.example.com/", "ambiguous_host"),
    ("https://example\u212a.com/", "ambiguous_host"),
    ("https://１２７.0.0.1/", "non_ascii_digits"),
    ("https://127.0.0.１/", "non_ascii_digits"),
    ("https://①②⑦.0.0.1/", "non_ascii_digits"),
    ("https://١٢٧.0.0.1/", "non_ascii_digits"),
    ("https://127.0.0.¹/", "non_ascii_digits"),
    ("https://%31%32%37.0.0.1/", "percent_encoded_host"),
    ("https://127%2e0%2e0%2e1/", "percent_encoded_host"),
    ("https://localhost%00.example.com/", "percent_encoded_host"),
    ("https://127.0.0.1%0d%0a/", "percent_encoded_host"),
    ("https://example.com%2f@127.0.0.1/", "userinfo"),
    ("https://[fe80::1%25eth0]/", "zone_id"),
    ("https://[fe80::1%eth0]/", "zone_id"),
    ("https://[::1%251]/", "zone_id"),
    # names of local networks
    ("https://localhost/", "local_name"),
    ("https://LOCALHOST./", "local_name"),
    ("https://foo.localhost/", "local_name"),
    ("https://localhost.localdomain/", "local_name"),
    ("https://ip6-localhost/", "local_name"),
    ("https://ip6-loopback/", "local_name"),
    ("https://printer.local/", "local_name"),
    ("https://metadata.google.internal/", "local_name"),
    ("https://metadata/", "local_name"),
    ("https://router.home.arpa/", "local_name"),
    ("https://intranet/", "local_name"),
    ("https://redis/", "local_name"),
    ("https://db.corp/", "local_name"),
    ("https://nas.lan/", "local_name"),
    # addresses
    ("https://127.0.0.1/", "loopback"),
    ("https://127.255.255.254/", "loopback"),
    ("https://[::1]/", "loopback"),
    ("https://[0:0:0:0:0:0:0:1]/", "loopback"),
    ("https://0.0.0.0/", "this_network"),
    ("https://[::]/", "unspecified"),
    ("https://10.0.0.1/", "private"),
    ("https://192.168.1.1/", "private"),
    ("https://169.254.169.254/latest/meta-data/", "metadata"),
    ("https://[fd00:ec2::254]/", "metadata"),
    ("https://[::ffff:127.0.0.1]/", "ipv4_mapped"),
    ("https://[::ffff:7f00:1]/", "ipv4_mapped"),
    ("https://[::127.0.0.1]/", "ipv4_compatible"),
    ("https://[64:ff9b::7f00:1]/", "nat64"),
    ("https://[2002:7f00:1::]/", "6to4"),
    ("https://[2001:0:7f00:1::]/", "teredo"),
    ("https://[fe80::1]/", "link_local"),
    ("https://[fc00::1]/", "unique_local"),
    ("https://255.255.255.255/", "broadcast"),
    ("https://224.0.0.1/", "multicast"),
    (f"https://example.com/{'x' * 2048}", "too_long"),
]


@pytest.mark.parametrize(("url", "host", "port", "path", "authority"), ACCEPTED)
def test_a_plain_url_is_taken_apart(url: str, host: str, port: int, path: str, authority: str) -> None:
    target = check_url(url, STRICT)

    assert (target.scheme, target.host, target.port, target.path) == ("https", host, port, path)
    assert target.authority == authority
    assert target.origin == ("https", host, port)


@pytest.mark.parametrize(("url", "reason"), REFUSED, ids=lambda value: ascii(value)[:60])
def test_an_unsafe_url_is_refused_by_name(url: str, reason: str) -> None:
    with pytest.raises(UnsafeUrl) as refused:
        check_url(url, STRICT)

    assert refused.value.reason == reason
    assert refused.value.field == "url"
    assert refused.value.message.startswith("url ")


def test_a_literal_address_comes_with_the_target() -> None:
    assert check_url("https://[2606:4700:4700::1111]/", STRICT).address == ip_address("2606:4700:4700::1111")
    assert check_url("https://example.com/", STRICT).address is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:49152/hooks",
        "http://127.0.0.1:60999/hooks",
        "https://127.0.0.1:32768/hooks",
        "http://[::1]:40000/hooks",
        "http://localhost:8000/",
        "http://receiver:8000/",
        "https://receiver.internal/",
        "http://example.com/",
    ],
)
def test_ranges_allowed_by_the_operator_are_accepted(url: str) -> None:
    assert check_url(url, LOCAL).path


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.1:8000/", "ambiguous_host"),
        ("http://0x7f000001/", "ambiguous_host"),
        ("http://[::ffff:127.0.0.1]/", "ipv4_mapped"),
        ("http://10.0.0.1/", "private"),
        ("http://169.254.169.254/", "metadata"),
        ("http://user@127.0.0.1/", "userinfo"),
        ("http://127.0.0.1:6379/", "refused_port"),
    ],
)
def test_ranges_not_allowed_by_the_operator_stay_refused(url: str, reason: str) -> None:
    with pytest.raises(UnsafeUrl) as refused:
        check_url(url, LOCAL)

    assert refused.value.reason == reason


def test_allowing_networks_does_not_allow_plain_http() -> None:
    with pytest.raises(UnsafeUrl) as refused:
        check_url("http://127.0.0.1/", AddressPolicy(allow_networks=LOCAL.allow_networks))

    assert refused.value.reason == "not_https"


_pieces = st.sampled_from(
    [
        *("https://", "http://", "//", "example.com", "127.0.0.1", "::1", "localhost", "0x7f", "1", "xn--", "a" * 70),
        *("[", "]", "@", ":", "/", "\\", "?", "#", "%", ".", "-", "_", " ", "\r\n", "\x00"),
        *("é", "ß", "İ", "１", "。", "\ud800"),
    ]
)
_urls = st.one_of(
    st.text(max_size=80),
    st.text(max_size=40).map(lambda host: f"https://{host}/"),
    st.lists(_pieces, max_size=12).map("".join),
    st.lists(_pieces, max_size=12).map(lambda pieces: "https://" + "".join(pieces)),
)


@given(_urls)
@example("https://xn--/")
@example("https://xn--a.com/")
@example("https://İ.com/")
def test_any_text_is_either_refused_or_safe_to_put_on_the_wire(url: str) -> None:
    try:
        target = check_url(url, STRICT)
    except UnsafeUrl:
        return

    assert target.scheme == "https"
    for part in (target.host, target.path, target.authority):
        assert part.isascii()
        assert part.isprintable()
        assert " " not in part
    assert target.path.startswith("/")
    assert target.address is None or classify(target.address) is None
    assert 1 <= target.port <= 65_535


@given(_urls)
def test_a_url_spelled_as_it_was_understood_is_understood_the_same_way(url: str) -> None:
    try:
        target = check_url(url, STRICT)
    except UnsafeUrl:
        return

    assert check_url(f"{target.scheme}://{target.authority}{target.path}", STRICT) == target


@given(st.ip_addresses().filter(lambda address: classify(address) is not None))
def test_no_refused_address_gets_through_as_a_literal(address: object) -> None:
    literal = f"[{address}]" if ":" in str(address) else str(address)
    with pytest.raises(UnsafeUrl) as refused:
        check_url(f"https://{literal}/", STRICT)

    assert refused.value.reason == classify(ip_address(str(address)))
