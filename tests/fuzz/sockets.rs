//! What comes over sockets that we opened: answers to probes, and the words of a mail server.
//!
//! The other end is real, on loopback; it says all that the input has and closes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use regex::bytes::Regex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use watchbell::{
    clock::SystemClock,
    config::MailSecurity,
    domain::{
        outcome::{CheckResult, Class},
        service::{HttpVersion, Probe},
        subscriber::Address,
    },
    notify::{
        reply::Reply,
        smtp::{Server, Smtp, Timeouts},
    },
    probe::Prober,
};

use super::{
    dice::Dice,
    harness::{Target, no_task_panicked, runtime},
    mail::is_fit_for_a_log,
};
use crate::probes;

/// How many conversations go on at once: each waits for the other side most of the time.
pub const AT_ONCE: usize = 16;

/// A number that follows from the input, to choose by.
pub fn folded(input: &[u8]) -> usize {
    input.iter().fold(input.len(), |sum, byte| (sum * 31 + usize::from(*byte)) % 999_983)
}

const HTTP: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200\r\n",
    "HTTP/1.1 ",
    "HTTP/2 200\r\n",
    "204 No Content",
    "301 Moved",
    "302",
    "304",
    "100 Continue\r\n\r\n",
    "101 Switching Protocols\r\n",
    "103 Early Hints\r\n",
    "500",
    "999",
    "099",
    "20",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    ": ",
    ":",
    " ",
    "\t",
    "\0",
    "Content-Length: 2\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 1000000\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Connection: close\r\n",
    "Connection: upgrade\r\n",
    "Content-Encoding: gzip\r\n",
    "Content-Encoding: br\r\n",
    "Content-Type: application/json\r\n",
    "Content-Type: text/html; charset=utf-16\r\n",
    "Content-Type: text/plain; charset=shift_jis\r\n",
    "Location: /\r\n",
    "Location: /elsewhere\r\n",
    "Location: //127.0.0.1:1/\r\n",
    "Location: \r\n",
    "Location: http://127.0.0.1:1/\r\n",
    "Location: http://169.254.169.254/latest/\r\n",
    "Location: file:///etc/passwd\r\n",
    "Location: javascript:alert(1)\r\n",
    "Location: http://[::1]:1/\r\n",
    "Location: /\u{e4}\r\n",
    "Location: ftp://127.0.0.1/\r\n",
    "Set-Cookie: a=b\r\n",
    "X-State: ok\r\n",
    " folded\r\n",
    "X: ",
    "0\r\n\r\n",
    "1\r\na\r\n",
    "2\r\nok\r\n",
    "ffffffffffffffff\r\n",
    "5;a=b\r\nneedl\r\n",
    "1\r\ne\r\n",
    "needle",
    "{\"status\":\"ok\"}",
    "{\"status\":",
    "[[[[[[[[[[",
    "\u{1f}\u{8b}\u{8}\0\0\0\0\0",
    "\0\0\0\u{4}\0\0\0\0\0",
    "\0\0\u{6}\u{4}\0\0\0\0\0\0\u{3}\0\0\0d",
    "\0\0\u{1}\u{1}\u{4}\0\0\0\u{1}",
    "\0\0\u{8}\u{7}\0\0\0\0\0\0\0\0\0\0\0\0\0",
    "ok",
    "<html>",
];

fn answer(dice: &mut Dice) -> Vec<u8> {
    if dice.one_in(3) {
        return dice.pieces(HTTP, 30).into_bytes();
    }
    let status = dice.pick(&[
        "200 OK",
        "200 OK",
        "204",
        "206 Partial",
        "301 Moved",
        "302 Found",
        "308",
        "404 Not Found",
        "500",
        "503 \u{e4}\u{1b}[2J",
    ]);
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for _ in 0..dice.few(8) {
        text += dice.pick(&HTTP[23..55]);
    }
    if dice.one_in(60) {
        text += &"X-Many: and more\r\n".repeat(dice.below(2000));
    }
    text += "\r\n";
    text += &dice.pieces(&HTTP[53..], 12);
    if dice.one_in(60) {
        text += &"needle and hay ".repeat(dice.below(9000));
    }
    text.into_bytes()
}

/// Says `input` to whoever comes and asks for it by its number.
async fn serve_answers(listener: TcpListener, answers: Arc<Mutex<std::collections::HashMap<u64, Arc<[u8]>>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let (mut head, mut piece) = (Vec::new(), [0; 1024]);
            while !head.windows(4).any(|end| end == b"\r\n\r\n") && !head.starts_with(b"PRI * HTTP/2.0") {
                match stream.read(&mut piece).await {
                    Ok(read @ 1..) => head.extend_from_slice(&piece[..read]),
                    _ => return,
                }
            }
            let number = head
                .split(|byte| matches!(byte, b'/' | b' '))
                .find_map(|part| std::str::from_utf8(part).ok()?.parse().ok());
            let answer = number.and_then(|number: u64| answers.lock().unwrap().get(&number).cloned());
            let answer = answer.unwrap_or_else(|| Arc::from(&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..]));
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            while matches!(stream.read(&mut piece).await, Ok(1..)) {}
        });
    }
}

/// Whatever a server answers, a probe ends in time with an outcome whose words are fit for a log,
/// and what is up has answered as expected.
pub fn http_answers() {
    let runtime = runtime("http");
    let answers = Arc::new(Mutex::new(std::collections::HashMap::new()));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve_answers(listener, Arc::clone(&answers)));
    let prober = Prober::new(Arc::new(SystemClock::new()));
    let next = AtomicU64::new(1_000_000);
    let is_good = Regex::new(r"HTTP/1\.[01] +2\d\d").unwrap();
    // What would be asked of a name server would leave this machine.
    let leads_to_a_name = Regex::new(r"(?i)location[^\n]*[/\\][/\\]+[^1\[]").unwrap();
    let large = vec![
        b"HTTP/1.1 200 OK\r\n".iter().copied().chain(b"X-More: and more\r\n".repeat(20_000)).collect(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            .iter()
            .copied()
            .chain(b"1\r\na\r\n".repeat(100_000))
            .collect(),
        b"HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000),
        [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b"[".repeat(100_000)].concat(),
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n".to_vec(), b"\xd8\x00".repeat(100_000)]
            .concat(),
    ];
    let target = Target { words: HTTP, large, threads: AT_ONCE, ..Target::new("http_answers", 1500) };
    target.run(answer, |input| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        answers.lock().unwrap().insert(number, Arc::from(input));
        let shape = folded(input);
        let mut check = probes::http(&format!("http://{address}/{number}"), |http| {
            http.follow_redirects = if leads_to_a_name.is_match(input) { 0 } else { 5 };
            http.max_body = 4096;
            http.http_version = [None, None, None, Some(HttpVersion::Http1), Some(HttpVersion::Http2)][shape % 5];
            match shape / 5 % 5 {
                0 => http.expect.body = Some("needle".to_owned()),
                1 => http.expect.body_regex = Some(regex::Regex::new("(?i)o.?k").unwrap()),
                2 => http.expect.json = [("/status".to_owned(), "ok".into())].into(),
                3 => http.expect.header = [("X-State".to_owned(), "ok".to_owned())].into(),
                _ => {}
            }
        });
        check.timeout = Duration::from_millis(700);
        let outcome = runtime.block_on(prober.probe(&check, Timestamp::UNIX_EPOCH));
        answers.lock().unwrap().remove(&number);
        assert_eq!(outcome.cause.is_none(), outcome.result == CheckResult::Up, "{outcome:?}");
        let detail = outcome.detail.as_deref().unwrap_or("");
        assert!(detail.chars().count() <= 300, "{detail:?}");
        super::html::is_clean(detail);
        assert!(!detail.contains('\n'), "{detail:?}");
        assert_ne!(outcome.cause.map(|cause| cause.class), Some(Class::Local), "{outcome:?}");
        let Probe::Http(http) = &check.probe else { unreachable!() };
        let lower = input.to_ascii_lowercase();
        let is_plain = !["chunked", "encoding", "location"]
            .iter()
            .any(|word| lower.windows(word.len()).any(|w| w == word.as_bytes()));
        if outcome.result == CheckResult::Up && http.http_version != Some(HttpVersion::Http2) && is_plain {
            assert!(is_good.is_match(input), "{outcome:?}");
            let has = |what: &[u8]| input.windows(what.len()).any(|part| part == what);
            assert!(http.expect.body.is_none() || has(b"needle"));
            assert!(http.expect.header.is_empty() || lower.windows(7).any(|part| part == b"x-state"));
        }
        no_task_panicked();
    });
}

const SMTP: &[&str] = &[
    "220 mail.example ESMTP\r\n",
    "220-hello\r\n",
    "220 \r\n",
    "250 ok\r\n",
    "250-mail.example\r\n",
    "250-PIPELINING\r\n",
    "250-SIZE 10240000\r\n",
    "250 HELP\r\n",
    "250-AUTH PLAIN LOGIN\r\n",
    "250-STARTTLS\r\n",
    "250-8BITMIME\r\n250 SMTPUTF8\r\n",
    "354 go on\r\n",
    "250 2.0.0 queued as 4ABC\r\n",
    "221 bye\r\n",
    "421 4.3.2 busy\r\n",
    "450 4.2.0 greylisted\r\n",
    "550 5.1.1 <ann@example.net>: unknown\r\n",
    "554 5.7.1 no\r\n",
    "535 5.7.8 no\r\n",
    "334 VXNlcm5hbWU6\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    "-",
    "2",
    "25",
    "250",
    "250\r\n",
    "251",
    "999 a\r\n",
    "000 a\r\n",
    "600 a\r\n",
    "abc\r\n",
    "\0",
    "250 \u{e4}\u{1b}[2J\r\n",
    "250-a\r\n251 b\r\n",
];

fn conversation(dice: &mut Dice) -> Vec<u8> {
    let mut text = String::new();
    let right = [
        "220 mail.example\r\n",
        "250-mail.example\r\n250 HELP\r\n",
        "250-mail.example\r\n250 PIPELINING\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "354 go on\r\n",
        "250 2.0.0 queued\r\n",
        "221 bye\r\n",
    ];
    for reply in right {
        match dice.below(12) {
            0 => text += &dice.pieces(SMTP, 4),
            1 => text += dice.pick(SMTP),
            2 if dice.one_in(3) => return text.into_bytes(),
            _ => text += reply,
        }
    }
    text.into_bytes()
}

/// Whatever a mail server says, handing over a message ends, in words that are fit for a log; it
/// counts as taken only if the server said yes at every step.
pub fn smtp_replies() {
    let runtime = runtime("smtp");
    let from = Address::parse("status@example.org").unwrap();
    let to = Address::parse("ann@example.net").unwrap();
    let is_yes = Regex::new(r"(?m)^[23]\d\d([ \r]|$)").unwrap();
    let large = vec![
        b"220-a\r\n".repeat(100_000),
        [b"220 a\r\n".to_vec(), b"250-a\r\n".repeat(100_000)].concat(),
        b"2".repeat(600_000),
    ];
    let target = Target { words: SMTP, large, threads: AT_ONCE, ..Target::new("smtp_replies", 1500) };
    target.run(conversation, |input| {
        let reply = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = Server {
                host: "127.0.0.1".to_owned(),
                port: listener.local_addr().unwrap().port(),
                // Seldom: the system's certificates are read anew for each.
                security: if folded(input).is_multiple_of(97) { MailSecurity::StartTls } else { MailSecurity::Plain },
                credentials: folded(input)
                    .is_multiple_of(7)
                    .then(|| ("ann".to_owned(), watchbell::secret::Secret::new("hunter2"))),
                connections: 1,
                timeouts: Timeouts {
                    connect: Duration::from_secs(5),
                    command: Duration::from_millis(800),
                    body: Duration::from_millis(800),
                },
                extra_roots: Vec::new(),
            };
            let smtp = Smtp::new(server, Arc::new(SystemClock::new())).unwrap();
            let serving = async {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let (mut read, mut write) = stream.split();
                    let saying = async {
                        let _ = write.write_all(input).await;
                        let _ = write.shutdown().await;
                    };
                    let mut piece = [0; 4096];
                    let hearing = async { while matches!(read.read(&mut piece).await, Ok(1..)) {} };
                    tokio::join!(saying, hearing);
                }
            };
            let sending = async {
                let first = smtp.send(&from, &to, b"Subject: a\r\n\r\n.\r\nb\r\n").await;
                // On the connection that was kept, or on another.
                let second = smtp.send(&from, &to, b"Subject: a\r\n\r\nb\r\n").await;
                is_fit_for_a_log(&second.to_string());
                smtp.close().await;
                first
            };
            tokio::select! { reply = sending => reply, () = serving => unreachable!() }
        });
        is_fit_for_a_log(&reply.to_string());
        if matches!(reply, Reply::Accepted { .. }) {
            // Greeting, EHLO twice, MAIL, RCPT, DATA, message.
            assert!(is_yes.find_iter(input).count() >= 7, "{reply:?}");
        }
        no_task_panicked();
    });
}
