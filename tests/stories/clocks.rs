//! Nights in which clocks change, across an outage: lengths are those of real time, days as long as
//! their zone makes them, mails name the zone that holds at each time, and ids go by UTC.

use super::*;

/// What mails and pages say of the times: the words of each mail, the last days, and the table.
fn said(output: &Path) -> String {
    let mut mails: Vec<PathBuf> = fs::read_dir(output.join("mails")).unwrap().map(|it| it.unwrap().path()).collect();
    mails.sort();
    let mut text = String::new();
    for mail in mails {
        let bytes = fs::read(mail).unwrap();
        let mail = mail_parser::MessageParser::default().parse(&bytes).unwrap();
        text += &format!("\nmail: {}\n", mail.subject().unwrap());
        let body = mail.body_text(0).unwrap();
        let of_times = body.lines().take_while(|line| !line.starts_with("--"));
        text.extend(of_times.filter(|line| !line.trim().is_empty()).map(|line| format!("  {line}\n")));
    }
    for service in ["api", "files"] {
        let read = |name: &str| fs::read_to_string(output.join(format!("site/services/{service}/{name}"))).unwrap();
        let page = read("index.html");
        let days: Vec<&str> = page.split("<title>").skip(2).filter_map(|rest| rest.split("</title>").next()).collect();
        text += &format!("\n{service}:\n");
        text.extend(days.iter().rev().take(3).rev().map(|day| format!("  {day}\n")));
        text.extend(read("outages.csv").lines().map(|line| format!("  {line}\n")));
    }
    text
}

fn night(name: &str, zone: &str) {
    let own = folder().join("clocks");
    let path = own.join(format!("{name}.toml"));
    let text = fs::read_to_string(own.join("watchbell.toml")).unwrap().replace("ZONE", zone);
    let config = match Config::parse(&own.join("watchbell.toml"), &text, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{}", shown(&problems)),
    };
    let story = parse(&path, &config);
    let output = tempfile::tempdir().unwrap();
    let rehearsed = play(config, &story, output.path());
    let text = told(&rehearsed) + &said(output.path());
    compare(&path.with_extension("txt"), &text).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn an_outage_in_the_night_that_has_an_hour_twice_is_as_long_as_it_was() {
    night("berlin_autumn", "Europe/Berlin");
}

#[test]
fn an_outage_in_the_night_that_lacks_an_hour_is_as_long_as_it_was() {
    night("berlin_spring", "Europe/Berlin");
}

#[test]
fn so_it_is_where_clocks_are_set_back_by_half_an_hour() {
    night("lord_howe_autumn", "Australia/Lord_Howe");
}

#[test]
fn so_it_is_where_clocks_are_set_forward_by_half_an_hour() {
    night("lord_howe_spring", "Australia/Lord_Howe");
}
