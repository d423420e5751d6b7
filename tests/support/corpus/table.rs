//! The corpus itself: one line or two for each server.

use watchbell::domain::outcome::Class::{Body, ConnectRefused, Dns, Protocol, Redirect, Reset, Timeout, Tls};

use super::{
    Below, Does,
    Finds::{Down, Status, Up},
    Hostile, WORD, begun, bomb, chunked, drips, floods, good, gzip, packed, resets, says, status, stops, to,
};

/// The head of something compressed.
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
/// A part of something compressed that holds nothing, and is not the last.
const NOTHING: &[u8] = b"\0\0\0\xff\xff";
const MIB: usize = 1 << 20;

/// Those that say nothing, stop in the middle, or let one wait for each byte.
pub fn silent_and_slow() -> Vec<Hostile> {
    let spells = |name, words: &[u8]| Hostile::new(name, [Does::Hears, Does::Spells(words.to_vec())], Down(Timeout));
    vec![
        Hostile::new("says nothing", [Does::Waits], Down(Timeout)),
        stops("hears the request and says nothing", "", Down(Timeout)),
        stops("stops after one byte", "H", Down(Timeout)),
        stops("stops in the status line", "HTTP/1.1 200 ", Down(Timeout)),
        stops("stops in a header", begun("X-Half: "), Down(Timeout)),
        stops("stops before the empty line", begun("Content-Length: 0\r\n"), Down(Timeout)),
        stops("stops before the body", good("Content-Length: 9\r\n", ""), Down(Timeout)),
        stops("stops in the body", good("Content-Length: 99\r\n", WORD), Down(Timeout)),
        stops("stops in a chunk's size", chunked("5"), Down(Timeout)),
        stops("stops in a chunk", chunked("5\r\nab"), Down(Timeout)),
        stops("stops before the last chunk", chunked("2\r\nab\r\n"), Down(Timeout)),
        stops("stops before the end of the last chunk", chunked("0\r\n"), Down(Timeout)),
        stops("a body without length that never ends", good("", WORD), Down(Timeout)),
        spells("spells out its status line", &begun(&WORD.repeat(99))),
        Hostile::new(
            "spells out a header",
            [Does::Hears, Does::Says(begun("")), Does::Spells(format!("X-Slow: {}", WORD.repeat(99)).into_bytes())],
            Down(Timeout),
        ),
        drips("a byte of a header now and then", begun("X-Slow: "), "x", Down(Timeout)),
        drips("a header now and then", begun(""), "A: b\r\n", Down(Timeout)),
        drips("a byte of the body now and then", good("Content-Length: 9999\r\n", ""), "b", Down(Timeout)),
        drips("a chunk now and then", chunked(""), "1\r\nb\r\n", Down(Timeout)),
        drips("a byte of a body without length now and then", good("", ""), "b", Down(Timeout)),
        drips("a trailer now and then", chunked("0\r\n"), "A: b\r\n", Down(Timeout)),
        drips("interim answers now and then", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", Down(Timeout)),
        floods("interim answers without end", "", "HTTP/1.1 100 Continue\r\n\r\n".repeat(100), Down(Timeout)).idle(),
        floods("processing without end", "", "HTTP/1.1 102 Processing\r\n\r\n".repeat(100), Down(Timeout)).idle(),
    ]
}

/// Those that speak something else.
pub fn no_http() -> Vec<Hostile> {
    let at_once = |name, words: &str| Hostile::new(name, [Does::Says(words.into())], Down(Protocol));
    vec![
        at_once("greets as a mail server before it is asked", "220 mail.example.org ESMTP Leviathan\r\n"),
        at_once("greets as a shell before it is asked", "SSH-2.0-Leviathan_9.2\r\n"),
        says("answers as a shell", "SSH-2.0-Leviathan_9.2\r\n", Down(Protocol)),
        says("a page without a head, as in HTTP/0.9", "<html><title>Leviathan</title></html>", Down(Protocol)),
        says("a TLS alert in plain", b"\x15\x03\x01\x00\x02\x02\x50", Down(Protocol)),
        says("the settings of HTTP/2", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", Down(Protocol)),
        says("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Down(Protocol)),
        says("zeros", [0; 4096], Down(Protocol)),
        floods("zeros without end", "", vec![0; 64 * 1024], Down(Protocol)),
        floods("one line without end", "", vec![b'H'; 64 * 1024], Down(Protocol)),
        floods("empty lines without end", "", "\r\n".repeat(9999), Down(Protocol)),
        says("a version that does not exist", "HTTP/9.9 200 Leviathan\r\n\r\n", Down(Protocol)),
        says("HTTP/2 in words", "HTTP/2 200 Leviathan\r\n\r\n", Down(Protocol)),
        says("another protocol of the same form", "RTSP/1.0 200 Leviathan\r\n\r\n", Down(Protocol)),
        says("a radio station", "ICY 200 Leviathan\r\n\r\n", Down(Protocol)),
        says("a version in small letters", "http/1.1 200 Leviathan\r\n\r\n", Down(Protocol)),
        says("a request instead of an answer", "GET / HTTP/1.1\r\nHost: Leviathan\r\n\r\n", Down(Protocol)),
    ]
}

/// Heads that are wrong, odd, or too much.
pub fn heads() -> Vec<Hostile> {
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: Leviathan\r\n")).collect::<String>();
    vec![
        says("a status of letters", "HTTP/1.1 abc Leviathan\r\n\r\n", Down(Protocol)),
        says("a status of two digits", "HTTP/1.1 20 Leviathan\r\n\r\n", Down(Protocol)),
        says("a status of four digits", "HTTP/1.1 2000 Leviathan\r\n\r\n", Down(Protocol)),
        says("a negative status", "HTTP/1.1 -200 Leviathan\r\n\r\n", Down(Protocol)),
        says("the lowest status there is not", "HTTP/1.1 000 Leviathan\r\n\r\n", Down(Protocol)),
        says("a status beyond all classes", status("999"), Status(999)),
        says("a failure with words", status("500"), Status(500)),
        says("a refusal with words", status("403"), Status(403)),
        says(
            "words in the status line that are no text",
            b"HTTP/1.1 200 \xff\xfe\x1b[31m\r\nContent-Length: 0\r\n\r\n",
            Down(Protocol),
        ),
        says("a status line of a megabyte", format!("HTTP/1.1 200 {}\r\n\r\n", "L".repeat(MIB)), Down(Protocol)),
        says("a NUL in a header's value", begun("X: a\0b\r\n\r\n"), Down(Protocol)),
        says("a NUL in a header's name", begun("X\0Y: b\r\n\r\n"), Down(Protocol)),
        says("a header without a colon", begun("Leviathan\r\n\r\n"), Down(Protocol)),
        says("a header without a name", begun(": Leviathan\r\n\r\n"), Down(Protocol)),
        says("a space before the colon", begun("X : Leviathan\r\n\r\n"), Down(Protocol)),
        says("a header folded onto the next line", begun("X: a\r\n Leviathan\r\n\r\n"), Down(Protocol)),
        says("a lone CR within a header", begun("X: a\rSet-Cookie: Leviathan\r\n\r\n"), Down(Protocol)),
        says("lines that end in LF alone", "HTTP/1.1 200 Leviathan\nContent-Length: 2\n\nok", Up),
        says("an empty line before the answer", [b"\r\n".to_vec(), good("Content-Length: 2\r\n", "ok")].concat(), Up),
        says(
            "headers that are no text",
            [&begun("X: ")[..], b"\xff\xe2\x80\xae\r\nContent-Length: 0\r\n\r\n"].concat(),
            Up,
        ),
        says("a hundred headers and one", begun(&(many(101) + "\r\n")), Down(Protocol)),
        says("a million small headers", begun(&("a:b\r\n".repeat(1_000_000) + "\r\n")), Down(Protocol)),
        says("ten megabytes in one header", begun(&format!("X: {}\r\n\r\n", "L".repeat(10 * MIB))), Down(Protocol)),
        says("ten megabytes in one name", begun(&format!("{}: b\r\n\r\n", "L".repeat(10 * MIB))), Down(Protocol)),
        floods("headers without end", begun(""), "X-More: and more\r\n".repeat(1000), Down(Protocol)),
        floods("one header without end", begun("X: "), vec![b'L'; 64 * 1024], Down(Protocol)),
        says(
            "switches to another protocol",
            "HTTP/1.1 101 Leviathan\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Status(101),
        ),
        says("the same header a hundred times", begun(&("Set-Cookie: Leviathan=1\r\n".repeat(99) + "\r\n")), Up),
    ]
}

/// Lengths and chunks that are wrong, odd, or too much.
pub fn lengths_and_chunks() -> Vec<Hostile> {
    let length = |name, lines: &str, finds| says(name, good(lines, WORD), finds);
    let chunks = |name, body: &str, finds| says(name, chunked(body), finds);
    vec![
        length("a negative length", "Content-Length: -9\r\n", Down(Protocol)),
        length("a length in words", "Content-Length: nine\r\n", Down(Protocol)),
        length("a length with a sign", "Content-Length: +9\r\n", Down(Protocol)),
        length("a length in hexadecimal", "Content-Length: 0x9\r\n", Down(Protocol)),
        length("an empty length", "Content-Length: \r\n", Down(Protocol)),
        length("a length beyond 64 bits", "Content-Length: 99999999999999999999\r\n", Down(Protocol)),
        length("a length of nearly 64 bits", "Content-Length: 18446744073709551614\r\n", Down(Protocol)),
        length("a length that is never sent", "Content-Length: 9223372036854775807\r\n", Down(Reset)),
        length("two lengths", "Content-Length: 9\r\nContent-Length: 3\r\n", Down(Protocol)),
        length("the same length twice", "Content-Length: 9\r\nContent-Length: 9\r\n", Up),
        length("two lengths in one line", "Content-Length: 9, 3\r\n", Down(Protocol)),
        length("more than its length", "Content-Length: 3\r\n", Up),
        says(
            "a length and chunks",
            good("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
            Up,
        ),
        length("a coding that nobody knows", "Transfer-Encoding: leviathan\r\n", Up),
        length("chunked, and then something else", "Transfer-Encoding: chunked, leviathan\r\n", Up),
        says(
            "chunks in HTTP/1.0",
            "HTTP/1.0 200 Leviathan\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Down(Protocol),
        ),
        chunks("a chunk beyond 64 bits", "FFFFFFFFFFFFFFFFF\r\n", Down(Protocol)),
        chunks("a chunk that is never sent", "7FFFFFFFFFFFFFFF\r\nabc", Down(Reset)),
        chunks("a chunk's size in no digits", "zz\r\n", Down(Protocol)),
        chunks("a negative chunk", "-2\r\nok\r\n0\r\n\r\n", Down(Protocol)),
        chunks("a chunk without a size", "\r\nok\r\n0\r\n\r\n", Down(Protocol)),
        chunks("a chunk that is longer than its size", "2\r\nokay\r\n0\r\n\r\n", Down(Protocol)),
        chunks("a NUL in a chunk's size", "2\0\r\nok\r\n0\r\n\r\n", Down(Protocol)),
        chunks("a line end in LF after a chunk's size", "2\nok\r\n0\r\n\r\n", Down(Protocol)),
        chunks("words behind each chunk's size", "2;word=Leviathan\r\nok\r\n0\r\n\r\n", Up),
        floods("words without end behind a chunk's size", chunked("2;"), vec![b'L'; 64 * 1024], Down(Protocol)),
        floods("a chunk's size without end", chunked(""), vec![b'0'; 64 * 1024], Down(Timeout)).idle(),
        floods("spaces without end behind a chunk's size", chunked("2"), vec![b' '; 64 * 1024], Down(Timeout)).idle(),
        floods(
            "words behind each of chunks without end",
            chunked(""),
            "1;w=Leviathan\r\nb\r\n".repeat(999),
            Down(Protocol),
        ),
        floods("trailers without end", chunked("0\r\n"), "X: Leviathan\r\n".repeat(999), Down(Protocol)),
        floods("one trailer without end", chunked("0\r\nX: "), vec![b'L'; 64 * 1024], Down(Protocol)),
    ]
}

/// Bodies that are too much, or not what they seem.
pub fn bodies() -> Vec<Hostile> {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let small = format!("400\r\n{}\r\n", "L".repeat(1024));
    // A gzip head that announces a name, which never ends.
    let name = [&b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"[..], &vec![b'L'; MIB]].concat();
    vec![
        floods("a body without end", good("", ""), vec![b'L'; 64 * 1024], Up),
        floods("a body without end that is searched", good("", ""), vec![b'L'; 64 * 1024], Down(Body)).searched(),
        floods("a body of a terabyte", good("Content-Length: 1099511627776\r\n", ""), vec![b'L'; 64 * 1024], Up),
        floods("small chunks without end", chunked(""), small.repeat(99), Up),
        floods("small chunks without end that are searched", chunked(""), small.repeat(99), Down(Body)).searched(),
        says("64 MiB in 64 KiB of gzip", packed("gzip", &bomb()), Down(Body)).searched(),
        says("64 MiB in 64 KiB of gzip that nobody unpacks", packed("gzip", &bomb()), Up),
        says("gzip in gzip", packed("gzip, gzip", &gzip(&bomb())), Down(Body)).searched(),
        says("gzip that is none", packed("gzip", WORD.as_bytes()), Down(Protocol)).searched(),
        says("gzip that breaks off", packed("gzip", &gzip(WORD.as_bytes())[..12]), Down(Protocol)).searched(),
        says("gzip of nothing at all", packed("gzip", b""), Down(Body)).searched(),
        says("gzip with a name that never ends", packed("gzip", &name), Down(Protocol)).searched(),
        floods(
            "gzip of nothing without end",
            good("Content-Encoding: gzip\r\n", GZIP),
            NOTHING.repeat(9999),
            Down(Timeout),
        )
        .searched()
        .idle(),
        says("a coding that was not asked for", packed("zstd", b"\x28\xb5\x2f\xfd\x04\x00\x49\x00\x00L"), Down(Body))
            .searched(),
        says(
            "a character set that does not exist",
            good("Content-Type: text/html; charset=leviathan\r\n", b"\xff\xfe\0"),
            Down(Body),
        )
        .searched(),
        says(
            "a wide character set, cut in the middle",
            good("Content-Type: text/html; charset=utf-16\r\n", b"\xff\xfeL\0e"),
            Down(Body),
        )
        .searched(),
        says("JSON two hundred thousand deep", good("Content-Type: application/json\r\n", deep), Down(Body)).searched(),
        says("NUL and other oddities", good("", b"\0\x08\x1b]0;Leviathan\x07\xe2\x80\xae\xff"), Down(Body)).searched(),
        says("markup", good("", "<script>alert('Leviathan')</script>]]>"), Down(Body)).searched(),
        says("a body where there is none", "HTTP/1.1 204 Leviathan\r\nContent-Length: 9\r\n\r\nLeviathan", Up),
        says("not modified, though nobody asked", "HTTP/1.1 304 Leviathan\r\n\r\n", Status(304)),
    ]
}

/// Those that send one elsewhere.
pub fn redirects() -> Vec<Hostile> {
    let sends = |name, location: &str| says(name, to(location), Down(Redirect));
    let body = [to("/next/{path}"), vec![b'L'; 4 * MIB]].concat();
    vec![
        sends("sends one to itself", "/"),
        sends("sends one to itself under its whole name", "http://{me}/"),
        sends("sends one to an ever longer address", "http://{me}{path}x"),
        sends("sends one to an ever deeper address", "Leviathan/"),
        sends("sends one to a file", "file:///etc/passwd"),
        sends("sends one to another kind of server", "ftp://{me}/"),
        sends("sends one to a script", "javascript:alert('Leviathan')"),
        sends("sends one to data", "data:text/plain,Leviathan"),
        sends("sends one to nowhere", "http://"),
        sends("sends one to a port that is none", "http://127.0.0.1:99999/"),
        sends("sends one to a cloud's metadata", "http://169.254.169.254/latest/meta-data/"),
        sends("sends one to a cloud's metadata by another spelling", "http://0xA9FEA9FE/latest/meta-data/"),
        sends("sends one to a cloud's metadata in IPv6's words", "http://[::ffff:169.254.169.254]/"),
        sends("sends one to a neighbour on the link", "http://[fe80::1]/"),
        says("sends one where nobody listens", to("http://127.0.0.1:1/Leviathan"), Down(ConnectRefused)),
        says("sends one to a name that does not exist", to("http://leviathan.invalid/"), Down(Dns)),
        sends("sends one through sixty kilobytes", &format!("/{}", WORD.repeat(6600))),
        sends("sends one away with a megabyte of body", "").saying(body),
        says("sends one away without saying where", "HTTP/1.1 302 Leviathan\r\nContent-Length: 0\r\n\r\n", Status(302)),
        says("offers many places", "HTTP/1.1 300 Leviathan\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n", Status(300)),
        says(
            "an address that is no text",
            b"HTTP/1.1 302 x\r\nLocation: http://\xff\xfe/\r\nContent-Length: 0\r\n\r\n",
            Down(Redirect),
        ),
    ]
}

/// Connections that end too early, in every phase.
pub fn cuts() -> Vec<Hostile> {
    let closes = |name, words: &[u8]| says(name, words, Down(Reset));
    vec![
        Hostile::new("closes at once", [], Down(Reset)),
        Hostile::new("resets at once", [Does::Resets], Down(Reset)),
        closes("closes after the request", b""),
        closes("closes in the status line", b"HTTP/1.1 2"),
        closes("closes in a header", &begun("Content-Le")),
        closes("closes before the empty line", &begun("Content-Length: 9\r\n")),
        closes("closes before the body", &good("Content-Length: 9\r\n", "")),
        closes("closes in the body", &good("Content-Length: 99\r\n", WORD)),
        closes("closes in a chunk's size", &chunked("5")),
        closes("closes in a chunk", &chunked("5\r\nab")),
        closes("closes before the last chunk", &chunked("2\r\nab\r\n")),
        closes("closes before the end of the last chunk", &chunked("0\r\n")),
        closes("closes after an interim answer", b"HTTP/1.1 100 Continue\r\n\r\n"),
        resets("resets after the request", ""),
        resets("resets in the status line", "HTTP/1.1 2"),
        resets("resets in a header", begun("Content-Le")),
        resets("resets in the body", good("Content-Length: 99\r\n", WORD)),
        resets("resets in a chunk", chunked("5\r\nab")),
        resets("resets in a body without length", good("", WORD)),
    ]
}

/// Those that break TLS, or break what is within it.
pub fn tls() -> Vec<Hostile> {
    let fake = |name, then: &[Does], finds| {
        let does: Vec<Does> = std::iter::once(Does::Listens).chain(then.iter().cloned()).collect();
        Hostile::new(name, does, finds).below(Below::NoTls)
    };
    let bytes = |words: &[u8]| Does::Says(words.to_vec());
    // The start of a good answer to a greeting, which announces more than comes.
    let hello = [&b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"[..], &[7; 32], b"\x20"].concat();
    vec![
        fake("TLS: garbage", &[bytes(&[0xAA; 4096])], Down(Tls)),
        fake("TLS: garbage without end", &[Does::Floods(vec![0xAA; 64 * 1024])], Down(Tls)),
        fake("TLS: zeros", &[bytes(&[0; 4096])], Down(Tls)),
        fake("TLS: speaks plain HTTP", &[bytes(&good("Content-Length: 9\r\n", WORD))], Down(Tls)),
        fake("TLS: an alert", &[bytes(b"\x15\x03\x03\x00\x02\x02\x28")], Down(Tls)),
        fake("TLS: an alert that nobody knows", &[bytes(b"\x15\x03\x03\x00\x02\x02\xee")], Down(Tls)),
        fake("TLS: warnings without end", &[Does::Floods(b"\x15\x03\x03\x00\x02\x01\x5a".repeat(999))], Down(Tls)),
        fake("TLS: empty records without end", &[Does::Floods(b"\x16\x03\x03\x00\x00".repeat(999))], Down(Tls)),
        fake(
            "TLS: a record that is too long",
            &[bytes(b"\x16\x03\x03\xff\xff"), Does::Floods(vec![2; 64 * 1024])],
            Down(Tls),
        ),
        fake(
            "TLS: a greeting of 16 MB",
            &[Does::Floods([&b"\x16\x03\x03\x40\x00\x02\xff\xff\xff"[..], &vec![3; 16 * 1024 - 4]].concat())],
            Down(Tls),
        ),
        fake("TLS: a version from before TLS", &[bytes(b"\x16\x03\x00\x00\x04\x02\x00\x00\x00")], Down(Tls)),
        fake("TLS: half a greeting, then nothing", &[bytes(&hello), Does::Waits], Down(Timeout)),
        fake("TLS: half a greeting, then closes", &[bytes(&hello)], Down(Tls)),
        fake("TLS: half a greeting, then resets", &[bytes(&hello), Does::Resets], Down(Reset)),
        fake("TLS: a byte of a greeting now and then", &[Does::Spells(hello.repeat(9))], Down(Timeout)),
        fake("TLS: hears a greeting and says nothing", &[Does::Waits], Down(Timeout)),
        fake("TLS: hears a greeting and closes", &[], Down(Tls)),
        fake("TLS: hears a greeting and resets", &[Does::Resets], Down(Reset)),
        Hostile::new("TLS: hears nothing", [Does::Resets], Down(Reset)).below(Below::NoTls),
        stops("within TLS: says nothing", "", Down(Timeout)).below(Below::Tls),
        says("within TLS: no HTTP", "SSH-2.0-Leviathan\r\n", Down(Protocol)).below(Below::Tls),
        says("within TLS: closes in the body", good("Content-Length: 99\r\n", WORD), Down(Reset)).below(Below::Tls),
        resets("within TLS: resets in the body", good("Content-Length: 99\r\n", WORD)).below(Below::Tls),
        drips("within TLS: a byte of the body now and then", good("Content-Length: 999\r\n", ""), "b", Down(Timeout))
            .below(Below::Tls),
        floods("within TLS: a body without end", good("", ""), vec![b'L'; 64 * 1024], Up).below(Below::Tls),
        says("within TLS: sends one out of it", to("http://127.0.0.1:1/"), Down(ConnectRefused)).below(Below::Tls),
    ]
}
