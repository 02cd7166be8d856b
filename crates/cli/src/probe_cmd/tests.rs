use super::*;

fn found(change: impl FnOnce(&mut Found)) -> Ended {
    let mut found = Found::default();
    change(&mut found);
    Ok(found)
}

#[test]
fn only_two_good_reports_are_a_yes() {
    let good = || found(|_| ());
    let failed = || found(|side| side.failed = Some("cuMemImport: no".to_owned()));
    let untested = || found(|side| side.untested = Some("no libcuda".to_owned()));
    let alone = || found(|side| side.left_alone = true);
    let died = || Err("died of signal 11 in the driver".to_owned());
    let answer = |one: Ended, two: Ended| {
        let (import, reason) = verdict(&one, &two);
        (import, reason.unwrap_or_default())
    };
    assert_eq!(answer(good(), good()), (Some(true), String::new()));
    assert_eq!(answer(alone(), failed()), (Some(false), "importer: cuMemImport: no".to_owned()));
    assert_eq!(answer(untested(), alone()), (None, "exporter: no libcuda".to_owned()));
    assert_eq!(answer(alone(), untested()).0, None);
    assert_eq!(answer(died(), alone()).0, Some(false));
    assert_eq!(answer(good(), died()).0, Some(false));
    assert_eq!(answer(alone(), alone()).0, None);
}
