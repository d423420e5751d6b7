//! How fast days pass: a day of a hundred services, three of which fail in it.

use std::time::Instant;

use watchbell::simulation::{
    Simulation,
    network::{refuses, times_out},
    relay::takes,
};

use super::stage::{at, config, folder, hours, id, mins, parse, secs};

#[test]
fn a_day_of_a_hundred_services_passes_in_seconds() {
    let names: Vec<String> = (0..100).map(|n| format!("service-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let folder = folder();
    let mut simulation = Simulation::new(parse(&config(&names), folder.path()), at("2026-03-01T00:00:00Z"), 7);
    simulation.pass_coarsely();
    simulation.relay(secs(0), takes());
    for (n, behaviour) in [(7, refuses()), (40, times_out()), (77, refuses())] {
        simulation.target(&id(&format!("service-{n}")), hours(n / 4), behaviour);
        simulation.target(&id(&format!("service-{n}")), hours(n / 4) + mins(n), watchbell::simulation::network::up());
    }
    let began = Instant::now();
    let (mut steps, mut published) = (0_u32, 0_u32);
    simulation
        .run_until(hours(24), &mut |_, happened| {
            steps += 1;
            published += u32::from(happened.contains(&watchbell::simulation::Happened::Published));
        })
        .unwrap();
    let took = began.elapsed();
    eprintln!(
        "a day of 100 services took {took:.1?}, {steps} steps in which something happened, {published} publishes"
    );
    assert!(took < mins(5), "{took:?}");
}
