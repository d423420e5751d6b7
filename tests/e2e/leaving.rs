//! Leaving in the middle of telling many, while the mail server takes its time: whoever left a second
//! ago is not written to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use watchbell::{config, domain::SubscriberId, store::tokens::Key};

use super::{SOON, await_status, write_config};
use crate::support::{
    daemon::{self, Daemon, free_address, json, ok, wait_for},
    http,
    smtp::{Act, Moment, Server, Setup},
    target::Target,
};

/// Who was named to the server as a recipient, in order.
type Book = Vec<String>;

/// Everyone's address and way out, in the order in which they are told.
fn people(folder: &Path, number: usize) -> Vec<(String, String)> {
    let mut text = "email\n".to_owned();
    (0..number).for_each(|n| writeln!(text, "person-{n}@example.org").unwrap());
    fs::write(folder.join("people.csv"), text).unwrap();
    ok(folder, &["-q", "subscriber", "import", "people.csv"]);
    let store = config::Store {
        path: folder.join("watchbell.db"),
        keep_results: Duration::from_hours(1),
        allow_volatile: false,
    };
    let key = Key::open(&store).unwrap();
    let list = json(folder, &["-q", "subscriber", "list", "--json"]);
    let mut found: Vec<(SubscriberId, String)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap().parse().unwrap(), one["address"].as_str().unwrap().to_owned()))
        .collect();
    found.sort();
    found.into_iter().map(|(id, address)| (address, key.unsubscribe(&id))).collect()
}

/// A server that takes some milliseconds for each message, is slow to greet now and then, and now and
/// then slow to answer to a recipient: the more `rarely`, the more people there are.
fn slow_server(book: Arc<Mutex<Book>>, rarely: usize) -> Setup {
    let (named, greeted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let script = move |moment: &Moment| {
        match moment {
            Moment::Connected(_) if greeted.fetch_add(1, Ordering::SeqCst) % rarely == rarely - 1 => {
                std::thread::sleep(Duration::from_millis(1500));
            }
            Moment::Command(line) if line.starts_with("RCPT TO:<person") => {
                let to = line.trim_start_matches("RCPT TO:<").trim_end_matches('>').to_owned();
                book.lock().unwrap().push(to);
                if named.fetch_add(1, Ordering::SeqCst) % (200 * rarely) == 100 {
                    std::thread::sleep(Duration::from_millis(2500));
                }
            }
            Moment::Received(_) => std::thread::sleep(Duration::from_millis(4)),
            _ => {}
        }
        Act::Usual
    };
    Setup { script: Some(Box::new(script)), ..Setup::default() }
}

#[test]
fn who_left_a_second_ago_is_not_written_to_however_slow_the_server_is() {
    let number: usize = std::env::var("WATCHBELL_LEAVING").map_or(2000, |text| text.parse().unwrap());
    let rarely = (number / 2000).max(1) * 2;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(12).enable_all().build().unwrap();
    let book: Arc<Mutex<Book>> = Arc::default();
    let server = runtime.block_on(Server::start(slow_server(Arc::clone(&book), rarely)));
    let (folder, listen, target) = (daemon::folder(), free_address(), Target::start());
    let email =
        format!("[email]\nfrom = \"status@example.org\"\nsmtp = \"smtp://{}\"\nconnections = 4\n", server.address);
    write_config(folder.path(), listen, &email, &[("api", format!("http = \"http://{}/\"", target.address))]);
    let people = people(folder.path(), number);
    let place: BTreeMap<&str, usize> = people.iter().zip(0..).map(|((address, _), n)| (address.as_str(), n)).collect();
    let daemon = Daemon::start(folder.path(), listen);
    await_status(listen, "api", "operational");
    target.answers(503);
    wait_for("a first mail", SOON, || (server.look(|seen| seen.mails.len()) > 0).then_some(()));

    // Those leave who are next, or about to be written to, in the middle of it.
    let mut left: BTreeMap<&str, Instant> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    let began = Instant::now();
    loop {
        let (furthest, begun) = {
            let book = book.lock().unwrap();
            let furthest = book.iter().rev().take(64).filter_map(|to| place.get(to.as_str())).max().copied();
            let named: Vec<String> = book.iter().rev().take(8).cloned().collect();
            (furthest.unwrap_or(0), named)
        };
        let ahead = [1, 2, 3, 5, 9, 20, 40, 80, 160].map(|ahead| furthest + ahead);
        let taken: BTreeSet<String> =
            server.look(|seen| seen.mails.iter().rev().take(64).map(|mail| mail.to.clone()).collect());
        let stuck = begun.iter().filter(|to| !taken.contains(*to)).filter_map(|to| place.get(to.as_str()).copied());
        let leaving: Vec<usize> = stuck.chain(ahead).filter(|n| *n < number).collect();
        if leaving.iter().all(|n| *n <= furthest) && furthest + 1 >= number {
            break;
        }
        for n in leaving {
            let (address, token) = &people[n];
            if left.contains_key(address.as_str()) {
                continue;
            }
            let asked = Instant::now();
            let form = "application/x-www-form-urlencoded";
            let answer =
                http::post(listen, &format!("/unsubscribe/{token}"), form, "List-Unsubscribe=One-Click").unwrap();
            assert_eq!(answer.status, 200);
            longest = longest.max(asked.elapsed());
            left.insert(address, Instant::now());
        }
        assert!(began.elapsed() < SOON * 40, "{} of {number} named", furthest + 1);
        std::thread::sleep(Duration::from_millis(100));
    }
    let stay = number - left.len();
    wait_for("an empty queue", SOON, || {
        let queue = json(folder.path(), &["-q", "notify", "queue", "--json"]);
        (queue["waiting"] == 0 && queue["sending"] == 0).then_some(())
    });
    let took = began.elapsed();

    let told: Vec<String> = server.look(|seen| seen.mails.iter().map(|mail| mail.to.clone()).collect());
    let once: BTreeSet<&String> = told.iter().collect();
    assert_eq!(once.len(), told.len(), "nobody is written to twice");
    assert_eq!(once.iter().filter(|to| !left.contains_key(to.as_str())).count(), stay, "everyone who stayed is told");
    // From the moment when leaving was answered to that when the whole message had come.
    let ended = server.look(|seen| {
        let now = (Instant::now(), jiff::Timestamp::now());
        let when = |at: jiff::Timestamp| {
            now.0.checked_sub(Duration::try_from(now.1.duration_since(at)).unwrap_or_default()).unwrap()
        };
        seen.mails.iter().map(|mail| (mail.to.clone(), when(mail.at))).collect::<Vec<_>>()
    });
    let late = ended.iter().filter_map(|(to, at)| Some((at.checked_duration_since(*left.get(to.as_str())?)?, to)));
    let latest = late.max();
    eprintln!(
        "{number} people, {} left meanwhile, {} of them before they were told; telling took {took:?}; leaving was \
         answered within {longest:?}; the latest message to somebody who had left came after {latest:?}",
        left.len(),
        left.keys().filter(|address| !once.contains(&(**address).to_owned())).count(),
    );
    assert!(left.len() >= 100, "{} left", left.len());
    assert!(latest.as_ref().is_none_or(|(after, _)| *after < Duration::from_secs(1)), "{latest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert!(daemon.terminate().0.success());
}
