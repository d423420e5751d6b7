//! Visitors of the site: crowds that mean no good, and readers who look while it is being written.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use super::{SOON, Scene, http, scale, wait_for};
use crate::support::{daemon::Daemon, target::Target};

/// Ten services on one target each.
fn scene(targets: &[Target]) -> (Scene, Daemon) {
    let services: Vec<(String, String)> = targets
        .iter()
        .enumerate()
        .map(|(n, target)| (format!("s{n}"), format!("http = \"http://{}/\"", target.address)))
        .collect();
    let services: Vec<(&str, String)> = services.iter().map(|(id, check)| (id.as_str(), check.clone())).collect();
    let scene = Scene::new("", &services);
    let daemon = scene.start();
    wait_for("the site", SOON, || (scene.statuses().len() == targets.len()).then_some(()));
    (scene, daemon)
}

/// How late the next so many probes are, on average, in seconds.
fn lateness(scene: &Scene, probes: f64) -> f64 {
    let count = || scene.metric("watchbell_schedule_lag_seconds_count");
    let sum = || scene.metric("watchbell_schedule_lag_seconds_sum");
    let before = (count(), sum());
    wait_for("more probes", SOON * 4, || (count() >= before.0 + probes).then_some(()));
    (sum() - before.1) / (count() - before.0)
}

#[test]
fn a_crowd_of_silent_and_of_slow_clients_makes_no_probe_late_and_no_visitor_wait() {
    let targets: Vec<Target> = (0..10).map(|_| Target::start()).collect();
    let (scene, daemon) = scene(&targets);
    let quiet = lateness(&scene, 40.0);
    let ended = AtomicBool::new(false);
    let crowd = scale("WATCHBELL_CROWD", 400);
    std::thread::scope(|threads| {
        // Those who say nothing; who is shown out comes again.
        let address = scene.listen;
        for part in 0..2 {
            let ended = &ended;
            threads.spawn(move || {
                let mut held: Vec<TcpStream> = Vec::new();
                for n in 0.. {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Ok(mut stream) = TcpStream::connect(address) {
                        if n % 4 == part {
                            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ");
                        }
                        if held.len() >= crowd / 2 {
                            drop(held.swap_remove(n % (crowd / 2)));
                        }
                        held.push(stream);
                    }
                    // The slow ones say one byte more.
                    let slow = n % held.len().max(1);
                    let _ = held.get_mut(slow).map(|stream| stream.write_all(b"a"));
                    if held.len() >= crowd / 2 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
            });
        }
        let crowded = lateness(&scene, 100.0);
        let answer = http::get(scene.listen, "/");
        assert_eq!(answer.map(|answer| answer.status), Some(200));
        targets[4].answers(500);
        scene.await_status("s4", "major_outage");
        ended.store(true, Ordering::SeqCst);
        eprintln!("probes were {quiet:.4} s late, and {crowded:.4} s with a crowd of {crowd}");
        assert!(crowded < quiet * 3.0 + 0.1, "{quiet} s late before, {crowded} s with a crowd");
    });
    assert_eq!(scene.incidents().len(), 1);
    assert!(daemon.terminate().0.success());
}

/// Every page and document that a reader may have a link to from the first moment on.
fn links(scene: &Scene) -> Vec<String> {
    let mut links: Vec<String> = ["/", "/history/", "/updates.rss", "/updates.atom", "/feed.json", "/history.atom"]
        .map(ToOwned::to_owned)
        .to_vec();
    links.extend(["status", "summary", "components", "incidents"].map(|name| format!("/api/v2/{name}.json")));
    links.extend(scene.statuses().into_iter().map(|(id, _)| format!("/services/{id}/")));
    links
}

/// Whether that is a whole document of its kind.
fn is_whole(path: &str, text: &str) -> bool {
    let end = text.trim_end();
    match path.rsplit('.').next() {
        Some("json") => serde_json::from_str::<serde_json::Value>(text).is_ok(),
        Some("rss") => end.ends_with("</rss>"),
        Some("atom") => end.ends_with("</feed>"),
        _ => text.starts_with("<!") && end.ends_with("</html>"),
    }
}

#[test]
fn readers_find_every_page_whole_while_it_is_published_again_and_again() {
    let targets: Vec<Target> = (0..10).map(|_| Target::start()).collect();
    let (scene, daemon) = scene(&targets);
    let links = links(&scene);
    let (publishes, reads) = (scale("WATCHBELL_PUBLISHES", 12), scale("WATCHBELL_READS", 2000));
    let publishes = f64::from(u32::try_from(publishes).unwrap());
    let published = || scene.metric("watchbell_publish_duration_seconds_count");
    let before = published();
    let (ended, read) = (AtomicBool::new(false), AtomicUsize::new(0));
    let public = scene.path().join("public");
    std::thread::scope(|threads| {
        // One asks the daemon; the other reads the files, as a web server beside it would.
        threads.spawn(|| {
            for path in links.iter().cycle().take_while(|_| !ended.load(Ordering::SeqCst)) {
                let answer = http::get(scene.listen, path).unwrap();
                assert_eq!(answer.status, 200, "{path}");
                assert!(is_whole(path, &answer.text()), "{path}: {}", answer.text());
                read.fetch_add(1, Ordering::SeqCst);
            }
        });
        threads.spawn(|| {
            for path in links.iter().cycle().take_while(|_| !ended.load(Ordering::SeqCst)) {
                let name = path.trim_start_matches('/');
                let name = if path.ends_with('/') { format!("{name}index.html") } else { name.to_owned() };
                let mut text = String::new();
                fs::File::open(public.join(&name))
                    .and_then(|mut file| file.read_to_string(&mut text))
                    .expect("it is there");
                assert!(is_whole(path, &text), "{name}: {text}");
                read.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut fails = true;
        while published() < before + publishes || read.load(Ordering::SeqCst) < reads {
            for (n, target) in targets.iter().enumerate().take(4) {
                target.answers(if fails && n < 3 { 500 } else { 200 });
            }
            fails = !fails;
            scene.await_probes(12.0);
        }
        ended.store(true, Ordering::SeqCst);
    });
    eprintln!("{} reads during {} publishes", read.load(Ordering::SeqCst), published() - before);
    assert!(daemon.terminate().0.success());
}
