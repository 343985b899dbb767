"""URLs that an attacker would register: every spelling of every address that must not be reachable from outside."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

INTERNAL = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
]
INTERNAL_V6 = [
    "::1",
    "::",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "100::1",
    "5f00::1",
    "2001:db8::1",
    "2001::1",
    "3fff::1",
    "4000::1",
]
RESOLVED = {
    "internal.attacker.example": ["10.1.2.3"],
    "loopback.attacker.example": ["127.0.0.1"],
    "metadata.attacker.example": ["169.254.169.254"],
    "six.attacker.example": ["::1"],
    "mapped.attacker.example": ["::ffff:127.0.0.1"],
    "nat64.attacker.example": ["64:ff9b::7f00:1"],
    "first.attacker.example": ["10.1.2.3", "93.184.215.14"],
    "last.attacker.example": ["93.184.215.14", "10.1.2.3"],
    "both.attacker.example": ["2606:2800:21f:cb07::1", "fe80::1"],
    "127.0.0.1.nip.attacker.example": ["127.0.0.1"],
    "spoofed.burpcollaborator.attacker.example": ["0.0.0.0"],
    "xn--e1afmkfd.attacker.example": ["192.168.0.1"],
    "xn--a.attacker.example": ["127.0.0.1"],
    "xn--0.attacker.example": ["127.0.0.1"],
    "xn--ls8h.attacker.example": ["127.0.0.1"],
    "many.attacker.example": [*(f"93.184.215.{number}" for number in range(1, 40)), "127.0.0.1"],
    "none.attacker.example": [],
}
"""Names under an attacker's control, with what they resolve to."""

_FULL_WIDTH = str.maketrans("0123456789.", "０１２３４５６７８９．")
_CIRCLED = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨")
_ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_BOLD = str.maketrans("0123456789", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗")


def spellings(address: str) -> Iterator[str]:
    """Hosts that one resolver or another takes for this IPv4 address."""
    number = int(IPv4Address(address))
    a, b, c, d = (int(part) for part in address.split("."))
    yield address
    yield f"{address}."
    yield str(number)
    yield f"{number + 2**32}"
    yield hex(number)
    yield hex(number).upper()
    yield f"0x{number:016x}"
    yield f"0{number:o}"
    yield f"{a}.{b * 65536 + c * 256 + d}"
    yield f"{a}.{b}.{c * 256 + d}"
    yield f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"{a:03d}.{b:03d}.{c:03d}.{d:03d}"
    yield f"0{a:o}.{b}.0x{c:x}.{d}"
    yield f"{a}.{b}.{c}.{d + 256}"
    yield address.translate(_FULL_WIDTH)
    yield address.translate(_CIRCLED)
    yield address.translate(_ARABIC)
    yield address.translate(_BOLD)
    yield address.replace(".", "。")
    yield address.replace(".", "．")
    yield address.replace(".", "｡")
    yield address.replace(".", "%2e")
    yield "".join(f"%{byte:02x}" for byte in address.encode())
    yield f"[{address}]"
    yield f"[::ffff:{address}]"
    yield f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]"
    yield f"[::{address}]"
    yield f"[::ffff:0:{address}]"
    yield f"[64:ff9b::{address}]"
    yield f"[64:ff9b:1::{address}]"
    yield f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]"
    yield f"[2001:0:{number >> 16:x}:{number & 0xFFFF:x}::]"
    yield f"[2606:4700::5efe:{number >> 16:x}:{number & 0xFFFF:x}]"
    yield f"{address}\u200b"
    yield f"\u00ad{address}"


def spellings_v6(address: str) -> Iterator[str]:
    """The same for IPv6."""
    exploded = IPv6Address(address).exploded
    yield f"[{address}]"
    yield f"[{exploded}]"
    yield f"[{exploded.upper()}]"
    yield f"[{address}%25eth0]"
    yield f"[{address}%eth0]"
    yield f"[{address}]."
    yield address
    yield f"[{address}"
    yield f"[[{address}]]"
    yield f"[v1.{address}]"


def with_addresses() -> Iterator[str]:
    """Hosts that are addresses, in URLs."""
    for address in INTERNAL:
        for host in spellings(address):
            yield f"https://{host}/"
    for address in INTERNAL_V6:
        for host in spellings_v6(address):
            yield f"https://{host}/hook"


def with_local_names() -> Iterator[str]:
    """Names that mean this machine or this network."""
    names = [
        "localhost",
        "LOCALHOST",
        "LocalHost",
        "localhost.",
        "localhost.localdomain",
        "localhost6",
        "ip6-localhost",
        "ip6-loopback",
        "foo.localhost",
        "a.b.localhost",
        "loopback",
        "broadcasthost",
        "kubernetes",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "intranet",
        "metadata",
        "metadata.google.internal",
        "instance-data",
        "instance-data.ec2.internal",
        "host.docker.internal",
        "gateway.docker.internal",
        "printer.local",
        "router.lan",
        "nas.home",
        "box.home.arpa",
        "mail.corp",
        "git.private",
        "db.internal",
        "ｌｏｃａｌｈｏｓｔ",
        "localhoſt",
        "ⓛocalhost",
        "loc\u200balhost",
        "loc\xadalhost",
        "lοcalhost.internal",
    ]
    yield from (f"https://{name}/" for name in names)
    yield from (f"https://{name}:8443/" for name in names[:4])


def with_other_hosts_in_front(real: str = "127.0.0.1") -> Iterator[str]:
    """URLs that two parsers read differently: one sees a public host, the other an internal one."""
    yield from (
        text.replace("REAL", real)
        for text in (
            "https://example.com@REAL/",
            "https://REAL@example.com/",
            "https://user:pass@example.com/",
            "https://:@example.com/",
            "https://@example.com/",
            "https://example.com:443@REAL/",
            "https://example.com%40REAL/",
            "https://example.com%2f@REAL/",
            "https://example.com#@REAL/",
            "https://REAL#.example.com/",
            "https://example.com/#fragment",
            "https://example.com\\@REAL/",
            "https:\\\\REAL\\",
            "https:/\\REAL/",
            "https://example.com\\.REAL/",
            "https://REAL\\.example.com/",
            "https://REAL%00.example.com/",
            "https://REAL\x00.example.com/",
            "https://REAL .example.com/",
            "https://REAL\t.example.com/",
            "https://REAL\n.example.com/",
            "https://example.com;@REAL/",
            "https://example.com,REAL/",
            "https://example.com REAL/",
            "https://[REAL]@example.com/",
            "https://REAL:443:8443/",
            "https://[::1]REAL/",
            "https://[::1].example.com/",
            "https://example.com：443@REAL/",
            "https://example.com／@REAL/",
            "https://example.com＠REAL/",
            "https://example.com？@REAL/",
            "https://example.com＃@REAL/",
            "https:///REAL/",
            "https:REAL/",
            "https:/REAL/",
            "https//REAL/",
            "//REAL/",
            "REAL",
            "https://https://REAL/",
            "https://example.com:REAL/",
        )
    )


def with_other_schemes() -> Iterator[str]:
    """URLs of other schemes than https."""
    schemes = [
        "http",
        "HTTP",
        "file",
        "ftp",
        "ftps",
        "gopher",
        "dict",
        "ldap",
        "ldaps",
        "ldapi",
        "sftp",
        "ssh",
        "tftp",
        "telnet",
        "smb",
        "ws",
        "wss",
        "data",
        "javascript",
        "jar",
        "netdoc",
        "php",
        "expect",
        "phar",
        "view-source",
        "about",
        "blob",
        "unix",
        "http+unix",
        "git",
        "svn",
        "redis",
        "mysql",
        "postgresql",
        "amqp",
        "rtsp",
    ]
    yield from (f"{scheme}://example.com/" for scheme in schemes)
    yield from ("javascript:alert(1)", "data:text/plain,x", "file:///etc/passwd", "jar:https://example.com!/", "x:y")
    yield from (" https://example.com/", "https://example.com/ ", "\thttps://example.com/", "ht tps://example.com/")
    yield from (
        "\ufeffhttps://example.com/",
        "h\u0442tps://example.com/",
        "ｈttps://example.com/",
        "https\u2028://e.com/",
    )


def with_control_characters() -> Iterator[str]:
    """What would write headers, or end the request line, if it got that far."""
    for control in (
        "\r\n",
        "\r",
        "\n",
        "\0",
        "\t",
        "\x0b",
        "\x0c",
        "\x1b",
        "\x7f",
        "\x85",
        "\u2028",
        "\u2029",
        "\u202e",
    ):
        yield f"https://example.com/{control}Host: internal"
        yield f"https://example.com{control}/"
        yield f"https://exam{control}ple.com/"
        yield f"https://example.com/?q={control}X-Injected: 1"
    yield "https://example.com/ HTTP/1.1"


def with_ports() -> Iterator[str]:
    """Ports of services that an HTTP request could harm, and invalid ports."""
    for port in (
        *(0, 1, 7, 9, 11, 13, 19, 20, 21, 22, 23, 25, 53, 69, 79, 81, 87, 110, 111, 113, 135, 137, 139, 143, 161, 179),
        *(389, 445, 465, 512, 513, 514, 515, 587, 631, 636, 873, 993, 995, 1080, 1433, 1521, 2049, 2181, 2375, 2379),
        *(3128, 3306, 3389, 5432, 5672, 5900, 5984, 6000, 6379, 6443, 6667, 8009, 8500, 9042, 9092, 9100, 9200, 10250),
        *(11211, 27017),
    ):
        yield f"https://example.com:{port}/"
    for text in (
        "",
        "-1",
        "+443",
        "65536",
        "99999999999999999999",
        "0443",
        "0x1bb",
        "443a",
        "４４３",
        "4 43",
        "443.0",
        "1e3",
    ):
        yield f"https://example.com:{text}/"


def with_bad_hosts() -> Iterator[str]:
    """What no name can be."""
    yield from ("", " ", "https", "https:", "https:/", "https://", "https:///", "https://?", "https://#", "https://.")
    yield from (
        "https://..",
        "https://.example.com",
        "https://example..com",
        "https://-a.example",
        "https://a-.example",
    )
    yield from ("https://exa*mple.com", "https://*.example.com", "https://exa'mple.com")
    yield from ("https://a b.example", "https://" + "a" * 64 + ".example", "https://" + "a." * 130 + "example")
    yield from ("https://example.com/" + "a" * 2_048, "https://xn--a\u0300.example")
    yield from ("https://☃.example..", "https://a\u2024b.example", "https://ex℀mple.com", "https://①②⑦.⓪.⓪.①/")


FAMILIES = {
    "addresses": with_addresses,
    "local names": with_local_names,
    "two hosts": with_other_hosts_in_front,
    "schemes": with_other_schemes,
    "control characters": with_control_characters,
    "ports": with_ports,
    "bad hosts": with_bad_hosts,
}
