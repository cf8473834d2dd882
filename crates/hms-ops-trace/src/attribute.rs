//! Values that attributes are made from.

use std::borrow::Cow;

use hms_ops_core::span::AttributeValue;

/// A value that an attribute can have as it is.
///
/// ```
/// use hms_ops_trace::{AttributeValue, IntoAttribute};
///
/// assert_eq!(3_u16.into_attribute(), AttributeValue::Int(3));
/// ```
#[diagnostic::on_unimplemented(
    message = "an attribute cannot be made from `{Self}`",
    note = "numbers, truth values and texts can; write `%value` for anything else with `Display`"
)]
pub trait IntoAttribute {
    /// The value of the attribute.
    fn into_attribute(self) -> AttributeValue;
}

impl IntoAttribute for AttributeValue {
    fn into_attribute(self) -> AttributeValue {
        self
    }
}

impl IntoAttribute for bool {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::Bool(self)
    }
}

macro_rules! numbers {
    ($variant:ident, $inner:ty: $($number:ty),*) => {$(
        impl IntoAttribute for $number {
            fn into_attribute(self) -> AttributeValue {
                AttributeValue::$variant(<$inner>::from(self))
            }
        }
    )*};
}

numbers!(Int, i64: i8, i16, i32, i64, u8, u16, u32);
numbers!(Float, f64: f32, f64);

macro_rules! wide_numbers {
    ($($number:ty),*) => {$(
        /// At most `i64::MAX`.
        impl IntoAttribute for $number {
            fn into_attribute(self) -> AttributeValue {
                AttributeValue::Int(i64::try_from(self).unwrap_or(i64::MAX))
            }
        }
    )*};
}

wide_numbers!(u64, usize);

impl IntoAttribute for isize {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::Int(self as i64)
    }
}

/// Copied, as it may not live as long as the span.
impl IntoAttribute for &str {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::Text(Cow::Owned(self.to_owned()))
    }
}

impl IntoAttribute for &String {
    fn into_attribute(self) -> AttributeValue {
        self.as_str().into_attribute()
    }
}

impl IntoAttribute for String {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::Text(Cow::Owned(self))
    }
}

impl IntoAttribute for Cow<'static, str> {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::Text(self)
    }
}
