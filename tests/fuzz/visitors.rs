//! What visitors send: requests of any kind, and forms.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use regex::bytes::Regex;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use watchbell::{
    domain::{asking::Asking, subscriber::Choice},
    fsio,
    store::Taken,
    web::{self, App, Chosen, Endpoints, Joined, Limits, Pages, Unavailable},
};

use super::{
    dice::{Dice, NEXT},
    harness::{Target, no_task_panicked, runtime},
    sockets::{AT_ONCE, folded},
};

/// Notes whose subscriptions end.
#[derive(Default)]
struct Desk(Mutex<HashSet<String>>);

impl Endpoints for Desk {
    fn unsubscribe(&self, token: &str) -> Result<(), Unavailable> {
        assert!(
            token.len() <= 256 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "{token:?}"
        );
        self.0.lock().unwrap().insert(token.to_owned());
        Ok(())
    }

    fn ask(&self, _: &Asking, _: IpAddr) -> Result<Taken, Unavailable> {
        Ok(Taken::Down)
    }

    fn confirm(&self, token: &str) -> Result<Option<Joined>, Unavailable> {
        Ok((token == "good").then(|| Joined { manage: "mine".to_owned(), secret: None }))
    }

    fn choice(&self, token: &str) -> Result<Option<Chosen>, Unavailable> {
        Ok((token == "mine").then(|| Chosen { choice: Choice::default(), secret: None }))
    }

    fn choose(&self, token: &str, _: Choice) -> Result<bool, Unavailable> {
        Ok(token == "mine")
    }

    fn leave(&self, token: &str) -> Result<bool, Unavailable> {
        Ok(token == "mine")
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Our web side, with some files.
struct Site {
    address: SocketAddr,
    desk: Arc<Desk>,
    _folder: tempfile::TempDir,
    _app: watch::Sender<Arc<App>>,
    runtime: tokio::runtime::Runtime,
}

const PRIVATE: &str = "this is nobody's business";

impl Site {
    fn new(limits: Limits) -> Self {
        let runtime = runtime("web");
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("public/index.html", "<p>front</p>".repeat(200)),
            ("public/services/api/index.html", "<p>api</p>".to_owned()),
            ("public/feed.json", "{}".to_owned()),
            ("public/404.html", "<p>nothing</p>".to_owned()),
            ("public/large.csv", "a,b\n".repeat(30_000)),
            ("public/.hidden", PRIVATE.to_owned()),
            ("secret.txt", PRIVATE.to_owned()),
        ] {
            fsio::write(&folder.path().join(name), content.as_bytes()).unwrap();
        }
        let pages = Pages {
            unsubscribe: "<form method=post><button>Unsubscribe</button></form>".into(),
            unsubscribed: "<p>No more mails.</p>".into(),
            try_again: "<p>Try again.</p>".into(),
            policy: "default-src 'none'; form-action 'self'".into(),
            ..Pages::plain()
        };
        let desk = Arc::new(Desk::default());
        let endpoints: Arc<dyn Endpoints> = Arc::<Desk>::clone(&desk);
        let bases = vec!["/status/".to_owned(), "/".to_owned()];
        let app =
            App::with(folder.path().join("public"), bases, vec!["127.0.0.0/8".parse().unwrap()], pages, endpoints);
        let (sender, app) = watch::channel(Arc::new(app));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(web::serve(listener, app, limits, CancellationToken::new()));
        Self { address, desk, _folder: folder, _app: sender, runtime }
    }

    /// Says `request`, and gives all that comes back until the server closes.
    fn ask(&self, request: &[u8], ends: bool) -> Vec<u8> {
        let _guard = self.runtime.enter();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        // A server that has heard enough may close before all is said.
        let _ = stream.write_all(request);
        if ends {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let (mut answer, mut piece) = (Vec::new(), [0; 16384]);
        let began = Instant::now();
        loop {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("no end after {:?}: {error}", began.elapsed()),
            }
        }
        answer
    }
}

static STATUS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^HTTP/1\.[01] (\d\d\d) ").unwrap());

/// Takes the first answer off `bytes`: status, head, body. `None`: there is no whole one.
fn take_answer<'a>(bytes: &mut &'a [u8], has_body: bool) -> Option<(u16, String, &'a [u8])> {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head of ASCII");
    let status = STATUS.captures(bytes).unwrap_or_else(|| panic!("no status in {head}"))[1].to_vec();
    let status = String::from_utf8(status).unwrap().parse().unwrap();
    let lower = head.to_ascii_lowercase();
    let length =
        lower.lines().find_map(|line| line.strip_prefix("content-length:")).map_or(0, |n| n.trim().parse().unwrap());
    let length: usize = if has_body && status != 304 && status >= 200 { length } else { 0 };
    let rest = &bytes[end + 4..];
    let body = rest.get(..length.min(rest.len())).unwrap();
    *bytes = &rest[body.len()..];
    (body.len() == length).then_some((status, lower, body))
}

const REQUESTS: &[&str] = &[
    "GET ",
    "HEAD ",
    "POST ",
    "OPTIONS ",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT ",
    "/",
    "/ ",
    "* ",
    "/status/",
    "/healthz",
    "/unsubscribe/",
    "/unsubscribe/TOKEN",
    "/services/api",
    "/services/api/",
    "/large.csv",
    "/feed.json",
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/.hidden",
    "/%2ehidden",
    "//secret.txt",
    "/status/../../secret.txt",
    "/a%00b",
    "/%ff",
    "/%",
    "?a=b",
    "?\u{e4}",
    "#x",
    "http://127.0.0.1/",
    "http://evil.example/",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " HTTP/2.0\r\n",
    " HTTP/1.1\n",
    "\r\n",
    "\r\n\r\n",
    "Host: x\r\n",
    "Host: evil.example\r\n",
    "Host: a\r\nHost: b\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: upgrade\r\nUpgrade: h2c\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 26\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: 99999999999\r\n",
    "Content-Length: -5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Accept-Encoding: gzip\r\n",
    "Accept-Encoding: gzip;q=0\r\n",
    "Accept-Encoding: *;q=1.5\r\n",
    "If-None-Match: *\r\n",
    "If-None-Match: \"a\", W/\"b\"\r\n",
    "If-Modified-Since: Sat, 21 Nov 2026 10:15:00 GMT\r\n",
    "If-Modified-Since: yesterday\r\n",
    "Range: bytes=0-1\r\n",
    "X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\n",
    "X-Forwarded-For: unknown\r\n",
    "Forwarded: for=\"[::1]\"\r\n",
    "Cookie: a=b\r\n",
    "Origin: null\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffffff\r\n",
    "List-Unsubscribe=One-Click",
    "\0",
    "\t",
    " ",
    ":",
];

fn requests(dice: &mut Dice) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..=dice.few(3) {
        if dice.one_in(4) {
            text += &dice.pieces(REQUESTS, 12);
            continue;
        }
        text += dice.pick(&REQUESTS[..3]);
        for _ in 0..=dice.few(2) {
            text += dice.pick(&REQUESTS[6..31]);
        }
        text += " HTTP/1.1\r\nHost: x\r\n";
        for _ in 0..dice.few(6) {
            text += dice.pick(&REQUESTS[36..63]);
        }
        text += dice.pick(&["Connection: close\r\n\r\n", "\r\n", "\r\n", ""]);
        if dice.one_in(3) {
            text += &dice.pieces(REQUESTS, 3);
        }
    }
    text.into_bytes()
}

/// Whatever a visitor says, what comes back is a whole answer of a kind that we give, with the
/// headers that keep browsers careful, and with no file that is not the site's.
pub fn requests_to_us() {
    let soon = Duration::from_millis(40);
    let site =
        Site::new(Limits { head: soon, body: soon, idle: soon, stall: Duration::from_secs(2), ..Limits::default() });
    let large = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000),
        b"GET / HTTP/1.1\r\n".iter().copied().chain(b"A: b\r\n".repeat(20_000)).collect(),
        b"/".repeat(200_000),
    ];
    let target = Target { words: REQUESTS, large, threads: AT_ONCE * 4, ..Target::new("requests_to_us", 1500) };
    target.run(requests, |input| {
        let all = site.ask(input, folded(input).is_multiple_of(3));
        assert!(!all.windows(PRIVATE.len()).any(|part| part == PRIVATE.as_bytes()), "a private file came back");
        let is_head = input.windows(4).any(|word| word.eq_ignore_ascii_case(b"HEAD"));
        let mut rest = &all[..];
        while let Some((status, head, _)) = take_answer(&mut rest, !is_head) {
            assert!(matches!(status, 100 | 200 | 301 | 304 | 400 | 404 | 405 | 408 | 413 | 414 | 431), "{head}");
            if head.contains("content-type:") || status == 304 {
                for header in [
                    "x-content-type-options: nosniff",
                    "x-frame-options: deny",
                    "referrer-policy:",
                    "content-security-policy:",
                ] {
                    assert!(head.contains(header), "{header} in {head}");
                }
            }
            assert!(!head.contains("evil.example") && !head.contains("set-cookie"), "{head}");
            if let Some(to) = head.lines().find_map(|line| line.strip_prefix("location: ")) {
                assert!(to.starts_with("./") && !to.contains(".."), "{to}");
            }
            if is_head {
                break;
            }
        }
        no_task_panicked();
    });
}

const FORMS: &[&str] = &[
    "List-Unsubscribe=One-Click",
    "List-Unsubscribe",
    "=",
    "&",
    "%",
    "%00",
    "%zz",
    "+",
    "email=ann%40example.org",
    "--b\r\n",
    "--b--\r\n",
    "--b",
    "\r\n",
    "\r\n\r\n",
    "Content-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n",
    "Content-Disposition: form-data; name=\"a\"; filename=\"../../x\"\r\n\r\n",
    "{\"a\":1}",
    "\0",
    ";",
];

/// A content type, and a body.
fn form(dice: &mut Dice) -> Vec<u8> {
    let kind = dice.pick(&[
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "text/plain",
        "",
        "application/json",
        "a/b; charset=\"",
        "\u{e4}",
    ]);
    let mut body = dice.pieces(FORMS, 12);
    if dice.one_in(30) {
        body = body.repeat(dice.below(400));
    }
    format!("{kind}{NEXT}{body}").into_bytes()
}

/// Whatever form a mail program sends, one POST ends one subscription; one that is too long, or
/// comes as anything but a POST, ends none.
pub fn forms() {
    let site = Site::new(Limits::default());
    let next = AtomicU64::new(0);
    let target =
        Target { words: FORMS, threads: AT_ONCE, large: vec![vec![b'a'; 300_000]], ..Target::new("forms", 1500) };
    target.run(form, |input| {
        let end = input.iter().position(|byte| *byte == NEXT as u8).unwrap_or(0);
        let (kind, body) = (&input[..end], &input[end..]);
        let kind: String =
            kind.iter().filter(|byte| (0x20..0x7f).contains(*byte)).map(|byte| char::from(*byte)).collect();
        let shape = folded(input);
        let method = if shape.is_multiple_of(4) { "GET" } else { "POST" };
        let token = format!("Token-{}", next.fetch_add(1, Ordering::Relaxed));
        let mut request = format!(
            "{method} /unsubscribe/{token} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        )
        .into_bytes();
        if shape.is_multiple_of(3) {
            request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(1 + shape % 500) {
                request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                request.extend_from_slice(chunk);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\n\r\n");
        } else {
            request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            request.extend_from_slice(body);
        }
        let all = site.ask(&request, false);
        let is_left = site.desk.0.lock().unwrap().remove(&token);
        let status = take_answer(&mut &all[..], true).map(|(status, ..)| status);
        let (is_post, is_short) = (method == "POST", body.len() <= 8192);
        assert_eq!(is_left, is_post && is_short, "{status:?}");
        // Who sends much more than we read may find the connection closed.
        let expected = if is_post && !is_short { Some(413) } else { Some(200) };
        assert!(status == expected || body.len() > 200_000, "{status:?}");
        no_task_panicked();
    });
}
