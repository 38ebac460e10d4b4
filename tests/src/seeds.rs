//! Scenarios that are played under many seeds.

/// Plays `scenario` under so many seeds, or under as many as `TOPO_SEEDS` says, from 0 or `TOPO_FIRST_SEED` on. The one under
/// which it fails is printed.
///
/// # Panics
/// Where the scenario does, or one of the two is set to what is no number.
pub fn for_seeds(seeds: u64, mut scenario: impl FnMut(u64)) {
    struct Told(u64);
    impl Drop for Told {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failed with seed {}", self.0);
            }
        }
    }
    let set = |name: &str, unless_set| match std::env::var_os(name) {
        None => unless_set,
        Some(number) => {
            let parsed = number.to_str().and_then(|number| number.parse().ok());
            parsed.unwrap_or_else(|| panic!("{name} is no number: {}", number.display()))
        }
    };
    let first = set("TOPO_FIRST_SEED", 0);
    for seed in first..first + set("TOPO_SEEDS", seeds) {
        let _told = Told(seed);
        scenario(seed);
    }
}
