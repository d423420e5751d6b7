//! Files that are made from the table of keys, and files that nobody would write.

use watchbell::config::{Config, example};

use super::{compare, env, folder, shown};

#[test]
fn the_example_is_what_the_table_of_keys_says() {
    let path = folder("../../config.example.toml");
    compare(&path, &example()).unwrap();
}

#[test]
fn the_example_loads_without_a_word() {
    let path = folder("valid").join("watchbell.toml");
    match Config::parse(&path, &example(), &env) {
        Ok(loaded) => assert_eq!(shown(&loaded.warnings, &folder("valid")), "\n"),
        Err(errors) => panic!("{}", shown(&errors, &folder("valid"))),
    }
}
