//! The SDK carries its own copy of the contract, so that it builds outside the repository.

#[test]
fn the_contract_is_the_one_of_the_repository() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/policy.wit");
    let Ok(contract) = std::fs::read_to_string(repository) else {
        return; // a copy of the SDK by itself
    };
    assert!(
        contract == include_str!("../wit/policy.wit"),
        "cp wit/policy.wit policy-wasm/sdk/wit/policy.wit"
    );
}
