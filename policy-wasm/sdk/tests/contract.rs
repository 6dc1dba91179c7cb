//! Comparison of the SDK's copy of the contract, which lets the SDK build outside of the repository, with the original.

#[test]
fn contract_equals_the_repositorys_contract() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/policy.wit");
    let Ok(contract) = std::fs::read_to_string(repository) else {
        return; // The SDK lies outside of the repository.
    };
    assert!(
        contract == include_str!("../wit/policy.wit"),
        "cp wit/policy.wit policy-wasm/sdk/wit/policy.wit"
    );
}
