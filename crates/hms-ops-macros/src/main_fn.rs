//! `#[hms_ops::main]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;

use crate::function::{Function, return_hint, returned};
use crate::options::{Root, set_once, text};

#[derive(Default)]
struct Options {
    root: Root,
    current_thread: Option<bool>,
}

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let Options { root, current_thread } = parse(options)?;
    let mut function: Function = syn::parse2(item)?;
    check(&function)?;

    let root = root.path();
    let block_on = match current_thread {
        Some(true) => quote!(block_on_current_thread),
        _ => quote!(block_on),
    };
    let hint = return_hint(returned(&function.sig.output));
    let body = &function.body;
    let entered = quote! {
        #root::enter();
        #root::__private::#block_on(async move { #hint #body })
    };
    function.sig.asyncness = None;
    Ok(function.with_body(&entered))
}

fn parse(options: TokenStream) -> syn::Result<Options> {
    let mut parsed = Options::default();
    let parser = syn::meta::parser(|option| {
        if option.path.is_ident("flavor") {
            let flavor = text(&option)?;
            let current_thread = match flavor.value().as_str() {
                "current_thread" => true,
                "multi_thread" => false,
                _ => {
                    let known = "expected \"multi_thread\" or \"current_thread\"";
                    return Err(syn::Error::new(flavor.span(), known));
                }
            };
            set_once(&mut parsed.current_thread, current_thread, &option)
        } else if option.path.is_ident("crate") {
            parsed.root.parse(&option)
        } else {
            Err(option.error("unknown option: expected `flavor` or `crate`"))
        }
    });
    parser.parse2(options)?;
    Ok(parsed)
}

fn check(Function { sig, .. }: &Function) -> syn::Result<()> {
    let refuse = |at: &dyn quote::ToTokens, why| Err(syn::Error::new_spanned(at, why));
    if sig.asyncness.is_none() {
        return refuse(&sig.fn_token, "must be `async`: `async fn main()`");
    }
    if let Some(argument) = sig.inputs.first() {
        return refuse(argument, "`main` takes no arguments");
    }
    if !sig.generics.params.is_empty() {
        return refuse(&sig.generics, "`main` has no generics");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(options: TokenStream, item: TokenStream) -> String {
        expand(options, item).unwrap_err().to_string()
    }

    #[test]
    fn main_enters_before_it_makes_a_runtime() {
        let expanded = expand(
            quote!(),
            quote!(
                async fn main() -> Result<(), Error> {
                    run().await
                }
            ),
        );
        let expected = quote! {
            fn main() -> Result<(), Error> {
                ::hms_ops::enter();
                ::hms_ops::__private::block_on(async move {
                    if let ::core::option::Option::Some(never) =
                        ::core::option::Option::None::<Result<(), Error> >
                    {
                        return never;
                    }
                    { run().await }
                })
            }
        };
        assert_eq!(expanded.unwrap().to_string(), expected.to_string());
    }

    #[test]
    fn the_flavor_chooses_the_runtime() {
        let main = || {
            quote!(
                async fn main() {}
            )
        };
        let one = expand(quote!(flavor = "current_thread"), main()).unwrap().to_string();
        assert!(one.contains("block_on_current_thread"), "{one}");
        let many = expand(quote!(flavor = "multi_thread"), main()).unwrap().to_string();
        assert!(!many.contains("current_thread"), "{many}");
    }

    #[test]
    fn what_is_wrong_with_main_is_said() {
        let main = || {
            quote!(
                async fn main() {}
            )
        };
        assert_eq!(
            error(
                quote!(),
                quote!(
                    fn main() {}
                )
            ),
            "must be `async`: `async fn main()`"
        );
        assert_eq!(
            error(
                quote!(),
                quote!(
                    async fn main(n: u8) {}
                )
            ),
            "`main` takes no arguments"
        );
        assert_eq!(
            error(
                quote!(),
                quote!(
                    async fn main<T>() {}
                )
            ),
            "`main` has no generics"
        );
        assert_eq!(
            error(quote!(flavor = "fast"), main()),
            "expected \"multi_thread\" or \"current_thread\""
        );
        assert_eq!(
            error(quote!(threads = 4), main()),
            "unknown option: expected `flavor` or `crate`"
        );
        assert_eq!(error(quote!(crate = a, crate = b), main()), "given twice");
        assert_eq!(
            error(
                quote!(),
                quote!(
                    struct Main;
                )
            ),
            "this attribute goes on a function"
        );
    }
}
