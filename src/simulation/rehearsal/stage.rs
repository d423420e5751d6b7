//! What a story means for the parts of a simulation: a config that touches nothing real, what each
//! target is like from when on, and what is done to the monitor.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    config::{Config, Email, MailTransport, OperatorTarget},
    domain::{
        CheckKey, SubscriberId,
        outcome::Class,
        service::{Check, Rules, Service},
        subscriber::{Address, BadAddress, Subscriber, SubscriberState},
        target::TargetClass,
    },
    simulation::{
        Action, Behaviour, Disk, Post, Simulation, network, relocate,
        story::{Person, State, Story, What},
    },
};

/// Who is told about the monitor, whoever that is in the config.
const OPERATOR: &str = "operator@example.org";
/// Who is told about a service besides.
const OWNER: &str = "owner@example.org";
/// Who writes, if the config does not say.
const SENDER: &str = "status@example.org";
/// People are there just after the first start.
const SUBSCRIBED: Duration = Duration::from_millis(1);

/// The config for a rehearsal in `folder`: nothing that it writes or whom it tells is real.
///
/// # Errors
/// Never, as long as `example.org` is a domain.
pub fn rehearsed(mut config: Config, folder: &Path) -> Result<Config, BadAddress> {
    relocate(&mut config, folder);
    let (from_name, from) = match config.email.take() {
        Some(email) => (email.from_name, email.from),
        None => (config.site.title.clone(), Address::parse(SENDER)?),
    };
    config.email = Some(Email {
        from_name,
        from,
        transport: MailTransport::Dir(folder.join("mails")),
        credentials: None,
        connections: 4,
        rate_per_second: None,
        envelope_from: String::new(),
        dkim: None,
    });
    config.operators = vec![OperatorTarget::Mail(Address::parse(OPERATOR)?)];
    config.heartbeat = None;
    let owner = Address::parse(OWNER)?;
    for service in config.rules.services.iter_mut().filter(|service| !service.owners.is_empty()) {
        Arc::make_mut(service).owners = vec![owner.clone()];
    }
    Ok(config)
}

/// Tells a simulation what happens in a story.
pub fn set(simulation: &mut Simulation, story: &Story, rules: &Rules) {
    for service in rules.probed() {
        for (key, check) in service.enabled_checks() {
            for (moment, behaviour) in behaviours(story, &key, check, service) {
                simulation.target_of(&key, moment, behaviour);
            }
        }
    }
    let relay = spells(story, |what| match what {
        What::Relay(post) => Some((0, post.clone())),
        _ => None,
    });
    for (moment, post) in timeline(&relay) {
        simulation.relay(moment, post.unwrap_or(Post::Takes));
    }
    for (n, person) in (1_u64..).zip(&story.people) {
        simulation.plan(SUBSCRIBED, Action::Subscribe(Box::new(subscriber(n, person, story.starts))));
    }
    for happening in &story.happenings {
        let action = match &happening.what {
            What::Suspended(lasts) => Action::Suspend(*lasts),
            What::Stopped(lasts) => Action::Stop(*lasts),
            What::Off(pause) if pause.is_zero() => Action::Restart,
            What::Off(pause) => Action::Pause(*pause),
            What::Crash => Action::Crash,
            What::Clock(by) => Action::StepClock(*by),
            What::Note(name, text) => Action::Note(name.clone(), text.clone()),
            What::DiskFull => {
                if let Some(lasts) = happening.lasts {
                    simulation.plan(happening.after.saturating_add(lasts), Action::Disk(Disk::Fine));
                }
                Action::Disk(Disk::Full)
            }
            What::Are(..) | What::Cut | What::ResolverAway | What::CannotProbe | What::Relay(_) => continue,
        };
        simulation.plan(happening.after, action);
    }
}

fn subscriber(n: u64, person: &Person, at: Timestamp) -> Subscriber {
    let mut id = [0; 16];
    id.iter_mut().zip(n.to_be_bytes()).for_each(|(to, from)| *to = from);
    Subscriber {
        id: SubscriberId::from_bytes(id),
        address: person.address.clone().into(),
        state: SubscriberState::Confirmed,
        wants: person.wants.clone(),
        language: person.language.clone(),
        timezone: person.timezone.clone(),
        created_at: at,
        confirmed_at: Some(at),
    }
}

/// Something that is so for a while, and how much it counts while other things are so, too.
#[derive(Debug)]
struct Spell<T> {
    from: Duration,
    to: Option<Duration>,
    rank: u8,
    value: T,
}

fn spells<T>(story: &Story, of: impl Fn(&What) -> Option<(u8, T)>) -> Vec<Spell<T>> {
    let spell = |happening: &crate::simulation::story::Happening| {
        let (rank, value) = of(&happening.what)?;
        let from = happening.after;
        Some(Spell { from, to: happening.lasts.map(|lasts| from.saturating_add(lasts)), rank, value })
    };
    story.happenings.iter().filter_map(spell).collect()
}

/// What is so from when on: of several things that of the highest rank, of equals the latest.
fn timeline<T: Clone + PartialEq>(spells: &[Spell<T>]) -> Vec<(Duration, Option<T>)> {
    let mut moments: Vec<Duration> = spells.iter().flat_map(|spell| [Some(spell.from), spell.to]).flatten().collect();
    moments.sort_unstable();
    moments.dedup();
    let mut line: Vec<(Duration, Option<T>)> = Vec::new();
    for moment in moments {
        let is_so = |spell: &&Spell<T>| spell.from <= moment && spell.to.is_none_or(|to| to > moment);
        let strongest = spells.iter().filter(is_so).max_by_key(|spell| (spell.rank, spell.from));
        let value = strongest.map(|spell| spell.value.clone());
        if line.last().is_none_or(|(_, last)| *last != value) {
            line.push((moment, value));
        }
    }
    line
}

/// What probes of a check find from when on.
fn behaviours(story: &Story, key: &CheckKey, check: &Check, service: &Service) -> Vec<(Duration, Behaviour)> {
    let host = check.probe.host();
    let is_far = TargetClass::of(host) != TargetClass::Loopback;
    let is_name = is_far && host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err();
    let found = spells(story, |what| match what {
        What::CannotProbe => Some((3, Behaviour::OursFails)),
        What::Cut if is_far => Some((2, Behaviour::Hangs)),
        What::ResolverAway if is_name => Some((1, Behaviour::Fails(Class::Dns.into()))),
        What::Are(checks, state) if checks.contains(key) && !service.id.is_canaries() => {
            Some((0, behaviour(*state, check)))
        }
        _ => None,
    });
    timeline(&found).into_iter().map(|(moment, found)| (moment, found.unwrap_or(network::up()))).collect()
}

fn behaviour(state: State, check: &Check) -> Behaviour {
    match state {
        State::Up(None) => network::up(),
        State::Up(Some(takes)) | State::Slow(Some(takes)) => Behaviour::Up(takes),
        State::Slow(None) => {
            let limit = check.degraded_over.unwrap_or(check.timeout / 2);
            // Slow, and still in time.
            Behaviour::Up(limit.saturating_add(check.timeout.saturating_sub(limit) / 2))
        }
        State::Down(cause) if cause.class == Class::Timeout => Behaviour::Hangs,
        State::Down(cause) => Behaviour::Fails(cause),
        State::Lossy(of_thousand) => Behaviour::Loses(of_thousand),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_things_the_stronger_counts_and_of_equals_the_later() {
        let second = Duration::from_secs;
        let spell = |from, to: Option<u64>, rank, value| Spell { from: second(from), to: to.map(second), rank, value };
        let spells = [spell(10, Some(60), 0, 'a'), spell(20, Some(30), 1, 'b'), spell(25, Some(40), 0, 'c')];
        let line: Vec<_> = timeline(&spells).into_iter().map(|(at, value)| (at.as_secs(), value)).collect();
        assert_eq!(line, [(10, Some('a')), (20, Some('b')), (30, Some('c')), (40, Some('a')), (60, None)]);
        assert_eq!(timeline(&[spell(5, None, 0, 'a')]), [(second(5), Some('a'))]);
    }
}
