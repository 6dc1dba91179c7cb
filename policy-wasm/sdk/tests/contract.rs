//! Comparison of the SDK's copy of the contract, which lets the SDK build outside of the repository, with the original.

#[test]
fn contract_equals_the_repositorys_contract() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !repository.join("host/posthouse").is_dir() {
        eprintln!("SKIPPED: the SDK lies outside of the repository");
        return;
    }
    let contract = std::fs::read_to_string(repository.join("wit/policy.wit")).expect("the contract of the repository");
    assert!(
        contract == include_str!("../wit/policy.wit"),
        "cp wit/policy.wit policy-wasm/sdk/wit/policy.wit"
    );
}
