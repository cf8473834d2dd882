//! `#[runbook]`.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{FnArg, LitStr, Path, ReturnType, Safety, Type};

use crate::function::{Function, plain};
use crate::options::{Root, set_once, text};

const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Options {
    root: Root,
    on_alert: Vec<LitStr>,
    name: Option<LitStr>,
    timeout: Option<Duration>,
    compensate: Option<Path>,
}

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let Options { root, on_alert, name, timeout, compensate } = parse(options)?;
    let function: Function = syn::parse2(item)?;
    check(&function)?;

    let root = root.path();
    let private = quote!(#root::__private);
    let runbook = quote!(#private::core::runbook);
    let ident = &function.sig.ident;
    let name = name.unwrap_or_else(|| LitStr::new(&plain(ident), ident.span()));
    let millis = u64::try_from(timeout.unwrap_or(TIMEOUT).as_millis()).unwrap_or(u64::MAX);
    let run = method(&runbook, "run", &call(ident, &function.sig.output));
    let compensate = match compensate {
        Some(path) => method(&runbook, "compensate", &call(&path, &path)),
        None => method(
            &runbook,
            "compensate",
            &quote!(async { ::core::result::Result::Err(#runbook::RunbookError::Unsupported) }),
        ),
    };
    let item = function.with_body(&function.body.stream());

    // What async_trait makes of the trait is written by hand, so that users need not depend on it.
    Ok(quote! {
        #item

        const _: () = {
            struct Registered;

            impl #runbook::Runbook for Registered {
                fn spec(&self) -> #runbook::RunbookSpec {
                    #runbook::RunbookSpec {
                        name: ::std::string::String::from(#name),
                        on_alert: ::std::vec![#(::std::string::String::from(#on_alert)),*],
                        timeout: ::core::time::Duration::from_millis(#millis),
                    }
                }

                #run

                #compensate
            }

            #private::inventory::submit! {
                #runbook::Registration {
                    name: #name,
                    make: || ::std::boxed::Box::new(Registered),
                }
            }
        };
    })
}

/// An async method of the trait, whose future is `body`.
fn method(runbook: &TokenStream, name: &str, body: &TokenStream) -> TokenStream {
    let name = syn::Ident::new(name, proc_macro2::Span::call_site());
    quote! {
        fn #name<'life0, 'life1, 'async_trait>(
            &'life0 self,
            ctx: &'life1 mut #runbook::RunbookContext,
        ) -> ::core::pin::Pin<::std::boxed::Box<
            dyn ::core::future::Future<Output = #runbook::RunbookResult>
                + ::core::marker::Send
                + 'async_trait,
        >>
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            Self: 'async_trait,
        {
            ::std::boxed::Box::pin(#body)
        }
    }
}

/// A call of the user's function; what does not fit is reported at `at`.
fn call(function: &impl ToTokens, at: &impl Spanned) -> TokenStream {
    quote_spanned!(at.span()=> #function(ctx))
}

fn parse(options: TokenStream) -> syn::Result<Options> {
    let mut parsed = Options::default();
    let parser = syn::meta::parser(|option| {
        if option.path.is_ident("on_alert") {
            let alert = text(&option)?;
            if parsed.on_alert.iter().any(|known| known.value() == alert.value()) {
                return Err(syn::Error::new(alert.span(), "this alert is given twice"));
            }
            parsed.on_alert.push(alert);
            Ok(())
        } else if option.path.is_ident("name") {
            set_once(&mut parsed.name, text(&option)?, &option)
        } else if option.path.is_ident("timeout") {
            let timeout = text(&option)?;
            let parsed_timeout = duration(&timeout.value()).ok_or_else(|| {
                let why = "expected a time above zero, such as \"500ms\", \"30s\" or \"5m\"";
                syn::Error::new(timeout.span(), why)
            })?;
            set_once(&mut parsed.timeout, parsed_timeout, &option)
        } else if option.path.is_ident("compensate") {
            let path = option.value()?.parse()?;
            set_once(&mut parsed.compensate, path, &option)
        } else if option.path.is_ident("crate") {
            parsed.root.parse(&option)
        } else {
            Err(option.error(
                "unknown option: expected `on_alert`, `name`, `timeout`, `compensate` or `crate`",
            ))
        }
    });
    parser.parse2(options)?;
    if parsed.on_alert.is_empty() {
        let why = "say which alert it answers: `#[runbook(on_alert = \"…\")]`";
        return Err(syn::Error::new(proc_macro2::Span::call_site(), why));
    }
    Ok(parsed)
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis_each = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return None,
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(millis_each)?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

fn check(Function { sig, .. }: &Function) -> syn::Result<()> {
    const SHAPE: &str = "a runbook is `async fn name(ctx: &mut RunbookContext) -> RunbookResult`";
    let refuse =
        |at: &dyn ToTokens, why: &str| Err(syn::Error::new_spanned(at, format!("{why}; {SHAPE}")));
    if sig.asyncness.is_none() {
        return refuse(&sig.fn_token, "must be `async`");
    }
    if !matches!(sig.safety, Safety::Default) {
        return refuse(&sig.safety, "may not be `unsafe`");
    }
    if !sig.generics.params.is_empty() {
        return refuse(&sig.generics, "may not be generic");
    }
    let mut inputs = sig.inputs.iter();
    match inputs.next() {
        Some(FnArg::Typed(argument)) => match &*argument.ty {
            Type::Reference(reference) if reference.mutability.is_some() => {}
            ty => return refuse(ty, "must take a `&mut RunbookContext`"),
        },
        Some(receiver) => return refuse(receiver, "may not be a method"),
        None => return refuse(&sig.ident, "must take its context"),
    }
    if let Some(more) = inputs.next() {
        return refuse(more, "takes nothing but its context; parameters come from `ctx.params()`");
    }
    match &sig.output {
        ReturnType::Type(..) => Ok(()),
        ReturnType::Default => refuse(&sig.ident, "must return a `RunbookResult`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(options: TokenStream, item: TokenStream) -> String {
        expand(options, item).unwrap_err().to_string()
    }

    fn good() -> TokenStream {
        quote!(
            async fn rollover(ctx: &mut RunbookContext) -> RunbookResult {
                Ok(())
            }
        )
    }

    #[test]
    fn a_timeout_is_a_number_and_a_unit() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        for bad in ["", "30", "s", "-1s", "1.5s", "30 s", "1h", "0s", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_wrong_option_is_named() {
        assert!(error(quote!(), good()).starts_with("say which alert it answers"));
        assert_eq!(error(quote!(on_alert = ""), good()), "empty");
        assert_eq!(
            error(quote!(on_alert = "a", on_alert = "a"), good()),
            "this alert is given twice"
        );
        assert_eq!(error(quote!(on_alert = "a", name = "b", name = "c"), good()), "given twice");
        assert_eq!(
            error(quote!(on_alert = "a", timeout = "soon"), good()),
            "expected a time above zero, such as \"500ms\", \"30s\" or \"5m\""
        );
        assert_eq!(
            error(quote!(alert = "a"), good()),
            "unknown option: expected `on_alert`, `name`, `timeout`, `compensate` or `crate`"
        );
    }

    #[test]
    fn a_function_of_the_wrong_shape_is_refused() {
        for (item, why) in [
            (
                quote!(
                    fn r(ctx: &mut RunbookContext) -> RunbookResult {}
                ),
                "must be `async`",
            ),
            (
                quote!(
                    async fn r() -> RunbookResult {}
                ),
                "must take its context",
            ),
            (
                quote!(
                    async fn r(ctx: &mut RunbookContext, n: u8) -> RunbookResult {}
                ),
                "takes nothing but its context; parameters come from `ctx.params()`",
            ),
            (
                quote!(
                    async fn r(ctx: &RunbookContext) -> RunbookResult {}
                ),
                "must take a `&mut RunbookContext`",
            ),
            (
                quote!(
                    async fn r(&mut self) -> RunbookResult {}
                ),
                "may not be a method",
            ),
            (
                quote!(
                    async fn r(ctx: &mut RunbookContext) {}
                ),
                "must return a `RunbookResult`",
            ),
            (
                quote!(
                    async fn r<T>(ctx: &mut RunbookContext) -> RunbookResult {}
                ),
                "may not be generic",
            ),
            (
                quote!(
                    async unsafe fn r(ctx: &mut RunbookContext) -> RunbookResult {}
                ),
                "may not be `unsafe`",
            ),
        ] {
            let message = error(quote!(on_alert = "a"), item);
            assert_eq!(message.split("; a runbook is").next(), Some(why), "{message}");
        }
    }

    #[test]
    fn the_function_itself_is_left_as_it_is() {
        let expanded = expand(quote!(on_alert = "a"), good()).unwrap().to_string();
        assert!(expanded.starts_with(&good().to_string()), "{expanded}");
    }
}
