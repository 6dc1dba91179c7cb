//! Components, inspected before compilation: these bytes are parsed outside of any sandbox.

use host_engine::component::anatomy::anatomy;
use host_engine::component::inspect;
use host_engine::component::inspection::{Inspection, inspect_component};
use host_engine::fuzzing::source_places;

/// Longest name of a function, and longest location, in an event.
pub(crate) const MAX_PLACE: usize = 512;

/// Inspects a component in every way. The ways must agree about a component that can be loaded.
pub fn component(data: &[u8]) {
    let shape = inspect(data);
    let inspection = inspect_component(data);
    match (shape, inspection) {
        (Ok(shape), Ok(inspection)) => {
            check_round_trip(&inspection);
            assert_eq!(inspection.problems, [""; 0]);
            assert_eq!(inspection.roles.len(), shape.roles.len());
            assert_eq!(shape.uses, inspection.uses.into_iter().collect());
        }
        (Err(problems), Ok(inspection)) => {
            check_round_trip(&inspection);
            assert_eq!(inspection.problems.len(), problems.len());
        }
        (Ok(_), Err(problems)) => panic!("loaded and not inspected: {problems:?}"),
        (Err(problems), Err(_)) => assert!(!problems.is_empty()),
    }
    let _ = anatomy(data);
    check_places(data, data.len());
}

fn check_round_trip(inspection: &Inspection) {
    let json = serde_json::to_vec(inspection).expect("JSON");
    let read: Inspection = serde_json::from_slice(&json).expect("an inspection");
    assert_eq!(&read, inspection);
}

/// Resolves instructions all over a component, which must end in bounded names.
pub(crate) fn check_places(component: &[u8], length: usize) {
    let step = (length / 64).max(1);
    for place in source_places(component, (0..length).step_by(step)) {
        for text in [place.function, place.location].into_iter().flatten() {
            assert!(text.len() <= MAX_PLACE, "{} bytes", text.len());
        }
    }
}
