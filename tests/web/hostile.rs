//! Clients that mean no good, or cannot do better.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use watchbell::web::Limits;

use super::client::{Reply, Server, is_closed, short, write_link};

#[test]
fn no_path_leads_out_of_the_site() {
    let server = Server::start();
    server.publish("index.html", "in");
    server.publish("services/api/index.html", "in");
    std::fs::write(server.folder.path().join("secret.txt"), "secret").unwrap();
    std::fs::create_dir_all(server.root().join(".git")).unwrap();
    std::fs::write(server.root().join(".git/config"), "secret").unwrap();
    write_link(&server.root().join("link.txt"), &server.folder.path().join("secret.txt"));
    write_link(&server.root().join("up"), server.folder.path());
    for path in [
        "/../secret.txt",
        "/services/../../secret.txt",
        "/services/api/../../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "/%252e%252e/secret.txt",
        "/.%00./secret.txt",
        "/status/../../secret.txt",
        "//secret.txt",
        "/./../secret.txt",
        "/link.txt",
        "/up/secret.txt",
        "/.git/config",
        "/services//api/",
        "/%ff",
        "/%",
        "http://x/../secret.txt",
    ] {
        let reply = server.get(path);
        assert!([400, 404].contains(&reply.status), "{path}: {}", reply.status);
        assert!(!reply.text().contains("secret"), "{path}");
    }
}

#[test]
fn who_says_nothing_is_shown_out() {
    let server = Server::with(short(), true);
    let mut silent = server.connect();
    let began = Instant::now();
    assert!(is_closed(&mut silent));
    assert!(began.elapsed() >= Duration::from_millis(250), "not at once either");
    let mut half = server.connect();
    half.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    assert!(is_closed(&mut half), "half a greeting is nothing");
}

#[test]
fn a_head_that_drips_in_ends_at_its_deadline() {
    let server = Server::with(short(), true);
    server.publish("index.html", "hello");
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ").unwrap();
    let closed = (0..500).any(|_| {
        stream.write_all(b"a").is_err() || matches!(stream.read(&mut [0; 256]), Ok(0)) || {
            let reset = stream.read(&mut [0; 256]).map_err(|error| error.kind());
            reset == Err(std::io::ErrorKind::ConnectionReset)
        }
    });
    assert!(closed);
}

#[test]
fn a_second_head_that_drips_in_ends_too() {
    let server = Server::with(short(), true);
    server.publish("index.html", "hello");
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT").unwrap();
    let began = Instant::now();
    let reply = Reply::read(&mut stream);
    assert_eq!(reply.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_body_that_drips_in_is_told_so() {
    let server = Server::with(short(), true);
    let mut stream = server.connect();
    let head = "POST /unsubscribe/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let reply = Reply::read(&mut stream);
    assert_eq!(reply.status, 408);
    assert!(server.desk.unsubscribed.lock().unwrap().is_empty(), "half a request is none");
}

#[test]
fn a_request_that_breaks_off_changes_nothing() {
    let server = Server::start();
    let mut stream = server.connect();
    let head = "POST /unsubscribe/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(is_closed(&mut stream));
    assert!(server.desk.unsubscribed.lock().unwrap().is_empty());
}

#[test]
fn a_crowd_that_says_nothing_costs_visitors_nothing() {
    let server = Server::with(Limits { connections: 64, ..Limits::default() }, true);
    server.publish("index.html", "hello");
    let mut crowd = Vec::new();
    for n in 0..400 {
        crowd.push(server.connect());
        if n % 20 == 0 {
            let began = Instant::now();
            assert_eq!(server.get("/").text(), "hello");
            assert!(began.elapsed() < Duration::from_secs(2));
        }
    }
    assert!(is_closed(&mut crowd[0]), "the first comers had to go");
}

#[test]
fn a_crowd_from_one_network_fills_its_own_places_only() {
    let server = Server::with(Limits { per_network: 4, ..Limits::default() }, false);
    server.publish("index.html", "hello");
    let mut crowd: Vec<_> = (0..20).map(|_| server.connect()).collect();
    assert!(crowd[..16].iter_mut().all(is_closed));
    assert_eq!(server.get("/").text(), "hello", "a newcomer of the same network is served still");
}

#[test]
fn who_takes_no_byte_of_an_answer_is_cut_off() {
    let server = Server::with(short(), true);
    server.publish("long.bin", vec![7; 64 * 1024 * 1024]);
    let mut stream = server.connect();
    stream.write_all(b"GET /long.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // The client reads on only after the server has lost its patience, as it has with others
    // meanwhile: what it gets then is what lay in the sockets.
    for _ in 0..3 {
        assert!(is_closed(&mut server.connect()));
    }
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    assert!(got.len() < 64 * 1024 * 1024, "{}", got.len());
}

#[test]
fn heads_beyond_their_limit_are_refused() {
    let server = Server::start();
    server.publish("index.html", "hello");
    let fits = format!("X-Long: {}\r\n", "a".repeat(8 * 1024));
    assert_eq!(server.get_with("/", &fits).status, 200);
    let long = format!("X-Long: {}\r\n", "a".repeat(20 * 1024));
    assert!([0, 431].contains(&server.get_with("/", &long).status));
    let many = "X-Many: a\r\n".repeat(200);
    assert!([0, 431].contains(&server.get_with("/", &many).status));
    let path = format!("/{}", "a".repeat(20 * 1024));
    assert!([0, 414, 431].contains(&server.get(&path).status));
    assert_eq!(server.get(&format!("/{}", "a".repeat(4096))).status, 404, "longer than a file name may be");
}

#[test]
fn bodies_beyond_their_limit_are_refused() {
    let server = Server::start();
    assert_eq!(server.post("/unsubscribe/abc", "text/plain", &"a".repeat(8 * 1024)).status, 200);
    assert_eq!(server.post("/unsubscribe/abc", "text/plain", &"a".repeat(9 * 1024)).status, 413);
    assert_eq!(server.desk.unsubscribed.lock().unwrap().len(), 1);
    let announced = "POST /unsubscribe/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n";
    assert_eq!(server.raw(announced).status, 413);
}

#[test]
fn garbage_is_answered_with_an_error_or_the_door() {
    let server = Server::start();
    server.publish("index.html", "hello");
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], // a TLS greeting
        b"\r\n\r\n\r\n\r\nxx\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(garbage).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let status = Reply::read(&mut stream).status;
        assert!(status == 0 || (400..500).contains(&status), "{garbage:?}: {status}");
    }
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn garbage_behind_a_good_request_harms_only_itself() {
    let server = Server::start();
    server.publish("index.html", "hello");
    let mut stream = server.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n\x00\x01garbage\r\n\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(text.matches("HTTP/1.1 400 Bad Request").count(), 1);
}

/// The server and its clients share one process, so the limit is set for a process of its own: this
/// test, called again.
#[test]
fn a_server_without_descriptors_makes_room_and_serves_on() {
    const NAME: &str = "web::hostile::a_server_without_descriptors_makes_room_and_serves_on";
    if std::env::var_os("WATCHBELL_STARVED").is_none() {
        let output = Command::new("sh")
            .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--test-threads=1"])
            .env("WATCHBELL_STARVED", "yes")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let server = Server::start();
    server.publish("index.html", "hello");
    // Some that were served, and stay; then as many as there can be.
    let mut crowd = Vec::new();
    for _ in 0..15 {
        let mut stream = server.connect();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
        crowd.push(stream);
    }
    while let Ok(stream) = TcpStream::connect(server.address) {
        crowd.push(stream);
    }
    assert!(crowd.len() < 64);
    // A visitor needs two descriptors, one for each end, and so does the page.
    for _ in 0..20 {
        crowd.drain(..2);
        let began = Instant::now();
        let status = server.get("/").status;
        assert!([200, 503].contains(&status), "{status}: nobody answers");
        assert!(began.elapsed() < Duration::from_secs(15));
        if crowd.len() < 4 {
            break;
        }
    }
    drop(crowd);
    assert_eq!(server.get("/").text(), "hello");
}
