//! Asking, confirming and choosing, through real sockets.

use std::sync::atomic::Ordering;

use super::client::Server;

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn a_form_of_either_kind_is_taken_and_its_client_is_known_by_the_proxys_word() {
    let server = Server::start();
    let asked = server.post("/subscribe", FORM, "email=ann%40example.org");
    assert_eq!(asked.status, 200);
    asked.has("cache-control", "no-store");
    asked.has("referrer-policy", "no-referrer");
    let parts = "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nben@example.org\r\n--b--\r\n";
    let again = server.post("/status/subscribe", "multipart/form-data; boundary=b", parts);
    assert_eq!((again.status, &again.body), (200, &asked.body));
    let body = "email=cleo@example.org";
    let request = format!(
        "POST /subscribe HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: 9.9.9.9, 192.0.2.7\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(server.raw(request).status, 200, "without a type, too");
    let asked = server.desk.asked.lock().unwrap();
    let asked: Vec<_> =
        asked.iter().map(|(asking, client)| (asking.address.as_str().to_owned(), client.to_string())).collect();
    let expected =
        [("ann@example.org", "127.0.0.1"), ("ben@example.org", "127.0.0.1"), ("cleo@example.org", "192.0.2.7")];
    assert_eq!(asked, expected.map(|(address, client)| (address.to_owned(), client.to_owned())));
}

#[test]
fn what_cannot_be_taken_is_said_so_and_reaches_nobody() {
    let server = Server::start();
    let long = format!("email=a@example.org&x={}", "y".repeat(40_000));
    for (media, body, status) in [
        (FORM, "", 400),
        (FORM, "email=ann", 400),
        (FORM, "email=a%00@example.org", 400),
        (FORM, "email=a@example.org%0d%0aBcc:x@example.org", 400),
        (FORM, "email=a@example.org&service=nope", 400),
        ("application/json", "{\"email\":\"a@example.org\"}", 400),
        (FORM, &long, 413),
    ] {
        assert_eq!(server.post("/subscribe", media, body).status, status, "{media} {}", body.len());
    }
    assert_eq!(server.get("/subscribe").status, 404, "there is no page of that name here");
    assert!(server.desk.asked.lock().unwrap().is_empty());
    server.desk.is_full.store(true, Ordering::SeqCst);
    let full = server.post("/subscribe", FORM, "email=a@example.org");
    assert_eq!(full.status, 429);
    full.has("retry-after", "3600");
    server.desk.store_is_locked.store(true, Ordering::SeqCst);
    let locked = server.post("/subscribe", FORM, "email=a@example.org");
    assert_eq!(locked.status, 503);
    locked.has("retry-after", "60");
}

#[test]
fn only_a_post_confirms_and_only_a_token_that_could_be_ours_is_looked_up() {
    let server = Server::start();
    for path in ["/confirm/good", "/confirm/nobodys", "/status/confirm/good"] {
        let page = server.get(path);
        assert_eq!(page.status, 200);
        assert!(page.text().contains("<form method=\"post\">"), "{}", page.text());
        page.has("x-robots-tag", "noindex, nofollow");
    }
    assert!(server.desk.confirmed.lock().unwrap().is_empty());
    assert_eq!(server.post("/confirm/good", FORM, "").status, 200);
    assert_eq!(server.post("/confirm/nobodys", FORM, "").status, 410);
    for garbled in ["%3Cb%3E", "a%20b", &"a".repeat(300)] {
        assert_eq!(server.post(&format!("/confirm/{garbled}"), FORM, "").status, 410);
        assert_eq!(server.get(&format!("/manage/{garbled}")).status, 410);
    }
    assert_eq!(*server.desk.confirmed.lock().unwrap(), ["good", "nobodys"]);
}

#[test]
fn a_choice_is_changed_or_left_by_its_own_token_alone() {
    let server = Server::start();
    assert_eq!(server.get("/manage/mine").status, 200);
    assert_eq!(server.get("/manage/good").status, 410);
    assert_eq!(server.post("/manage/mine", FORM, "do=save").status, 400, "news of nothing");
    assert_eq!(server.post("/manage/mine", FORM, "kinds=incidents&min_impact=major&do=save").status, 200);
    let chosen = server.desk.choice.lock().unwrap().clone();
    assert_eq!((chosen.wants.incidents, chosen.wants.maintenance), (true, false));
    assert_eq!(server.post("/manage/other", FORM, "kinds=maintenance").status, 410);
    assert_eq!(*server.desk.choice.lock().unwrap(), chosen);
    assert_eq!(server.post("/manage/mine", FORM, "do=leave").status, 200);
    assert_eq!(*server.desk.unsubscribed.lock().unwrap(), ["mine"]);
}
