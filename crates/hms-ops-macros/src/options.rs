//! What the options of all macros have in common.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{LitStr, Path};

/// Where `hms_ops` is.
#[derive(Default)]
pub(crate) struct Root(Option<Path>);

impl Root {
    /// Takes the value of `crate = path`.
    pub(crate) fn parse(&mut self, option: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let path = option.value()?.call(Path::parse_mod_style)?;
        set_once(&mut self.0, path, option)
    }

    /// The path of the crate.
    pub(crate) fn path(&self) -> TokenStream {
        match &self.0 {
            Some(path) => quote!(#path),
            None => quote!(::hms_ops),
        }
    }
}

/// Keeps the value of an option that may stand once.
pub(crate) fn set_once<T>(
    slot: &mut Option<T>,
    value: T,
    option: &ParseNestedMeta<'_>,
) -> syn::Result<()> {
    if slot.replace(value).is_some() {
        return Err(option.error("given twice"));
    }
    Ok(())
}

/// The value of `option = "text"`, which may not be empty.
pub(crate) fn text(option: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    let text: LitStr = option.value()?.parse()?;
    if text.value().trim().is_empty() {
        return Err(syn::Error::new(text.span(), "empty"));
    }
    Ok(text)
}
