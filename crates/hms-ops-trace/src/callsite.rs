//! Where in the source a span is made.

/// The name of a span and the place in the source that makes it; one `static` for each place.
///
/// ```
/// use hms_ops_trace::{Callsite, Span};
///
/// static SETTLE: Callsite = Callsite::new("settle", module_path!(), file!(), line!());
/// let _span = Span::at(&SETTLE).enter();
/// ```
#[derive(Debug)]
pub struct Callsite {
    name: &'static str,
    module: &'static str,
    file: &'static str,
    line: u32,
}

impl Callsite {
    /// The place at `line` of `file`, in the module with this path.
    pub const fn new(
        name: &'static str,
        module: &'static str,
        file: &'static str,
        line: u32,
    ) -> Self {
        Self { name, module, file, line }
    }

    /// The name of the spans that are made here.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The path of the module, such as `claims::pay`.
    pub fn module(&self) -> &'static str {
        self.module
    }

    /// The file, as the compiler was given it.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }
}
