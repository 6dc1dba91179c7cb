//! The page about changing a policy, played as it stands.

use std::path::Path;

use posthouse_tests::{Console, Site, example, tool};

#[test]
fn the_page_about_changing_a_policy_is_true() {
    let Some(_) = tool("swaks") else { return };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy-operations.md");
    let page = std::fs::read_to_string(&page).expect("the page");
    let site = Site::new();
    let default = example("posthouse-default-policy");
    for (name, file) in [
        ("candidate.wasm", &default),
        ("finished.wasm", &default),
        ("bad.wasm", &example("misbehaving")),
    ] {
        std::fs::copy(file, site.path().join(name)).expect("the folder can be written");
    }
    std::fs::create_dir(site.path().join("incoming")).expect("the folder can be written");
    let mut console = Console::new(&page);
    let port = "[events]\nformat = \"json\"\n\n[[listener]]\nname = \"smtp\"\naddress = \"127.0.0.1:0\"";
    let shown = "[[listener]]\nname = \"smtp\"\naddress = \"127.0.0.1:2525\"";
    console.write_files(site.path(), &[(shown, port)]);
    let daemon = site.start();
    let real = daemon.address("smtp").to_string();
    console.play(site.path(), &[("127.0.0.1:2525", &real)]);
}
