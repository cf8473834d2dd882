use std::num::ParseIntError;

use crate::ops::ENTERED;

#[hms_ops_macros::main(crate = crate::ops)]
async fn parse_two() -> Result<u8, ParseIntError> {
    assert!(ENTERED.get(), "enter comes first");
    let two = async { "2" }.await;
    let two = two.parse::<u8>()?;
    if two == 2 {
        return Ok(two);
    }
    Ok(0)
}

#[hms_ops_macros::main(crate = crate::ops, flavor = "current_thread")]
async fn nothing() {}

#[test]
fn main_enters_and_returns_what_its_body_returns() {
    assert_eq!(parse_two(), Ok(2));
    nothing();
}
