//! Asked to end while a relay is slow: it ends in time, and what was taken until then is marked, so
//! that nobody gets it twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::record::number;
use crate::{
    e2e::{SOON, await_status, write_config},
    support::{
        daemon::{Daemon, folder, free_address, ok, wait_for},
        smtp::{Act, Moment, Server},
        target::Target,
    },
};

const SENT: &str = "SELECT count(*) FROM delivery WHERE state = 'sent'";

#[test]
fn what_a_slow_relay_took_after_sigterm_is_marked_at_once_and_a_silent_one_is_not_waited_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    // The first message is taken once the end was asked for; about the second nothing is ever said.
    let is_ending = Arc::new(AtomicBool::new(false));
    let ending = Arc::clone(&is_ending);
    let relay = runtime.block_on(Server::scripted(move |moment| match moment {
        Moment::Command(line) if line.contains("bob@") => Act::Hang,
        Moment::Received(_) => {
            let asked = || ending.load(Ordering::SeqCst).then_some(());
            // Else this thread could keep the other connection from its turn.
            tokio::task::block_in_place(|| wait_for("the end", SOON, asked));
            Act::Usual
        }
        _ => Act::Usual,
    }));
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    let email = format!("[email]\nfrom = \"status@example.org\"\nsmtp = \"smtp://{}\"", relay.address);
    write_config(folder, listen, &email, &[("api", format!("http = \"http://{}/\"", target.address))]);
    for person in ["ann@example.org", "bob@example.org"] {
        ok(folder, &["-q", "subscriber", "add", person]);
    }
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    target.answers(500);
    let is_busy = |line: &str| relay.look(|seen| seen.commands.iter().any(|command| command.contains(line)));
    wait_for("both messages under way", SOON, || (is_busy("bob@") && is_busy("DATA")).then_some(()));
    daemon.signal("TERM");
    is_ending.store(true, Ordering::SeqCst);
    // Long before the silence about the second is given up.
    wait_for("the first is marked", Duration::from_millis(2500), || (number(folder, SENT) == 1).then_some(()));
    daemon.kill();
    assert_eq!(relay.taken().len(), 1);

    let daemon = Daemon::start(folder, listen);
    wait_for("the second is tried again", SOON, || {
        let tries = relay.look(|seen| seen.commands.iter().filter(|line| line.contains("bob@")).count());
        (tries >= 2).then_some(())
    });
    let (status, took) = daemon.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status:?} {took:?}");
    assert_eq!(relay.taken().len(), 1, "nobody got it twice");
}

#[test]
fn a_relay_that_says_nothing_at_good_bye_does_not_hold_up_the_end() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let relay = runtime.block_on(Server::scripted(|moment| match moment {
        Moment::Command(line) if line == "QUIT" => Act::Hang,
        Moment::Command(line) if line.contains("bob@") => Act::Hang,
        _ => Act::Usual,
    }));
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    let email = format!("[email]\nfrom = \"status@example.org\"\nsmtp = \"smtp://{}\"", relay.address);
    write_config(folder, listen, &email, &[("api", format!("http = \"http://{}/\"", target.address))]);
    for person in ["ann@example.org", "bob@example.org"] {
        ok(folder, &["-q", "subscriber", "add", person]);
    }
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    target.answers(500);
    wait_for("one message marked", SOON, || (number(folder, SENT) == 1).then_some(()));
    wait_for("the other under way", SOON, || {
        relay.look(|seen| seen.commands.iter().any(|command| command.contains("bob@"))).then_some(())
    });
    let (status, took) = daemon.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status:?} {took:?}");
}
