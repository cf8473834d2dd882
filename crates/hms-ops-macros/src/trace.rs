//! `#[trace]`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{
    Block, Expr, ExprAsync, ExprCall, GenericArgument, Ident, LitStr, PathArguments, Stmt, Token,
    Type, TypeParamBound, parenthesized,
};

use crate::function::{Function, plain, return_hint, returned, without_impl};
use crate::options::{Root, set_once, text};

#[derive(Default)]
struct Options {
    root: Root,
    name: Option<LitStr>,
    kind: Option<Ident>,
    skip_err: Option<()>,
    fields: Option<Vec<Field>>,
}

/// An attribute: `key = value`, `key = %value`, `value` or `%value`.
struct Field {
    key: LitStr,
    display: bool,
    value: Expr,
}

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let options = parse(options)?;
    let function: Function = syn::parse2(item)?;
    if let Some(constness) = &function.sig.constness {
        let why = "a `const fn` cannot be traced: it may run in the compiler";
        return Err(syn::Error::new_spanned(constness, why));
    }

    let root = options.root.path();
    let expansion =
        Expansion { trace: quote!(#root::__private::trace), options, function: &function };
    let body = if function.sig.asyncness.is_some() {
        expansion.future(returned(&function.sig.output), &function.body.to_token_stream())
    } else if let Some(boxed) = BoxedFuture::of(&function) {
        let BoxedFuture { before, mut call, future, output } = boxed;
        let recorded = expansion.future(output.as_ref(), &future.block.to_token_stream());
        let capture = &future.capture;
        call.args[0] = Expr::Verbatim(quote!(async #capture { #recorded }));
        quote!(#(#before)* #call)
    } else {
        expansion.scope()
    };
    Ok(function.with_body(&body))
}

struct Expansion<'a> {
    trace: TokenStream,
    options: Options,
    function: &'a Function,
}

impl Expansion<'_> {
    /// Statements of an `async` body that record `body` and give what it returns.
    fn future(&self, output: Option<&Type>, body: &TokenStream) -> TokenStream {
        let (span, future) = (local("span"), local("future"));
        let begin = self.span();
        let hint = return_hint(output);
        // Asked of a type that is not known, the status would make it a `Result`.
        let known = output.is_some_and(|output| !matches!(output, Type::Never(_)));
        let wrapped = if known && self.options.skip_err.is_none() {
            let (ended, output) = (local("ended"), local("output"));
            let status = self.status(&output);
            quote!(wrap_with(#future, |#ended, #output| #ended.set_status(#status)))
        } else {
            quote!(wrap(#future))
        };
        quote! {
            let #span = #begin;
            let #future = async move { #hint #body };
            #span.#wrapped.await
        }
    }

    /// Statements that record the body of a function that is not `async`.
    fn scope(&self) -> TokenStream {
        let trace = &self.trace;
        let guard = local("guard");
        let begin = self.span();
        let body = &self.function.body;
        let result = returned(&self.function.sig.output).filter(|ty| is_result(ty));
        match result.filter(|_| self.options.skip_err.is_none()) {
            None => quote! {
                let #guard = #begin.enter();
                #body
            },
            // `return` and `?` leave the closure, not the function.
            Some(result) => {
                let result = without_impl(result);
                let output = local("output");
                let status = self.status(&quote!(&#output));
                quote! {
                    let mut #guard = #begin.enter();
                    let #output = #trace::call(move || -> #result #body);
                    if #guard.is_recording() {
                        #guard.set_status(#status);
                    }
                    #output
                }
            }
        }
    }

    /// An expression for a span that has begun.
    fn span(&self) -> TokenStream {
        let Self { trace, options, function } = self;
        let ident = &function.sig.ident;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => LitStr::new(&plain(ident), ident.span()),
        };
        let kind = options.kind.as_ref().map(|kind| quote!(.with_kind(#trace::SpanKind::#kind)));
        let begin = quote! {
            #trace::Span::at({
                static CALLSITE: #trace::Callsite = #trace::Callsite::new(
                    #name,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                &CALLSITE
            }) #kind
        };
        let Some(fields) = &options.fields else { return begin };
        let span = local("span");
        let set = fields.iter().map(|Field { key, display, value }| match display {
            true => quote!(#span.set(#key, #trace::display(&(#value)));),
            false => quote!(#span.set(#key, #value);),
        });
        quote! {{
            let mut #span = #begin;
            if #span.is_recording() {
                #(#set)*
            }
            #span
        }}
    }

    /// An expression for the status that the value behind the reference `output` gives a span.
    fn status(&self, output: &impl ToTokens) -> TokenStream {
        let trace = &self.trace;
        quote! {{
            use #trace::{AnyOutput as _, DebugError as _, DisplayError as _, OtherError as _};
            (&&&&#trace::Output(#output)).status()
        }}
    }
}

/// The name of a local variable that the user's code cannot see.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// Whether the type's name says that it is a `Result`.
fn is_result(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => {
            path.path.segments.last().is_some_and(|last| plain(&last.ident).ends_with("Result"))
        }
        Type::Group(group) => is_result(&group.elem),
        Type::Paren(paren) => is_result(&paren.elem),
        _ => false,
    }
}

/// The body of a function that ends in `Box::pin(async …)`, as `#[async_trait]` writes it.
struct BoxedFuture {
    before: Vec<Stmt>,
    call: ExprCall,
    future: ExprAsync,
    output: Option<Type>,
}

impl BoxedFuture {
    fn of(function: &Function) -> Option<Self> {
        let pin = type_arguments(returned(&function.sig.output)?, "Pin")?;
        let boxed = type_arguments(pin.first()?, "Box")?;
        let output = future_output(boxed.first()?);

        let mut block: Block = syn::parse2(function.body.to_token_stream()).ok()?;
        let Some(Stmt::Expr(Expr::Call(call), None)) = block.stmts.pop() else { return None };
        let [Expr::Async(future)] = call.args.iter().collect::<Vec<_>>()[..] else { return None };
        let Expr::Path(callee) = &*call.func else { return None };
        let mut path = callee.path.segments.iter().rev().map(|segment| plain(&segment.ident));
        if path.next()? != "pin" || path.next()? != "Box" {
            return None;
        }
        let future = future.clone();
        Some(Self { before: block.stmts, call, future, output })
    }
}

/// The type arguments of a path that ends in `name`.
fn type_arguments<'a>(ty: &'a Type, name: &str) -> Option<Vec<&'a Type>> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    Some(types.collect())
}

/// The `T` of `dyn Future<Output = T> + …`.
fn future_output(ty: &Type) -> Option<Type> {
    let Type::TraitObject(object) = ty else { return None };
    object.bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let last = bound.path.segments.last().filter(|last| last.ident == "Future")?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(output) if output.ident == "Output" => {
                Some(output.ty.clone())
            }
            _ => None,
        })
    })
}

fn parse(options: TokenStream) -> syn::Result<Options> {
    let mut parsed = Options::default();
    let parser = syn::meta::parser(|option| {
        if option.path.is_ident("name") {
            set_once(&mut parsed.name, text(&option)?, &option)
        } else if option.path.is_ident("kind") {
            set_once(&mut parsed.kind, kind(&text(&option)?)?, &option)
        } else if option.path.is_ident("skip_err") {
            set_once(&mut parsed.skip_err, (), &option)
        } else if option.path.is_ident("fields") {
            let content;
            parenthesized!(content in option.input);
            let fields = Punctuated::<Field, Token![,]>::parse_terminated_with(&content, field)?;
            set_once(&mut parsed.fields, fields.into_iter().collect(), &option)
        } else if option.path.is_ident("crate") {
            parsed.root.parse(&option)
        } else {
            Err(option.error(
                "unknown option: expected `name`, `kind`, `fields(…)`, `skip_err` or `crate`",
            ))
        }
    });
    parser.parse2(options)?;
    Ok(parsed)
}

/// The variant of `SpanKind` that the text names.
fn kind(text: &LitStr) -> syn::Result<Ident> {
    let variant = match text.value().as_str() {
        "internal" => "Internal",
        "server" => "Server",
        "client" => "Client",
        "producer" => "Producer",
        "consumer" => "Consumer",
        _ => {
            let known =
                "expected \"internal\", \"server\", \"client\", \"producer\" or \"consumer\"";
            return Err(syn::Error::new(text.span(), known));
        }
    };
    Ok(Ident::new(variant, Span::call_site()))
}

fn field(input: ParseStream<'_>) -> syn::Result<Field> {
    let dotted = input.peek(Ident::peek_any) && (input.peek2(Token![.]) || input.peek2(Token![=]));
    let key = if input.peek(LitStr) {
        let key: LitStr = input.parse()?;
        input.parse::<Token![=]>()?;
        Some(key)
    } else if dotted && !input.peek2(Token![==]) {
        let parts =
            Punctuated::<Ident, Token![.]>::parse_separated_nonempty_with(input, Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        let text: Vec<_> = parts.iter().map(plain).collect();
        Some(LitStr::new(&text.join("."), parts[0].span()))
    } else {
        None
    };
    let display = input.parse::<Option<Token![%]>>()?.is_some();
    let value: Expr = input.parse()?;
    let key = match (key, &value) {
        (Some(key), _) => key,
        (None, Expr::Path(path)) if path.path.get_ident().is_some() => {
            LitStr::new(&path.path.get_ident().map(plain).unwrap_or_default(), Span::call_site())
        }
        (None, value) => {
            let why = "name the attribute: `key = …`";
            return Err(syn::Error::new_spanned(value, why));
        }
    };
    Ok(Field { key, display, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(options: TokenStream, item: TokenStream) -> String {
        expand(options, item).unwrap_err().to_string()
    }

    fn fields(options: TokenStream) -> Vec<(String, bool)> {
        let fields = parse(options).unwrap().fields.unwrap();
        fields.iter().map(|field| (field.key.value(), field.display)).collect()
    }

    #[test]
    fn a_field_has_a_key_or_is_a_variable() {
        let given =
            quote!(fields(n, %id, count = v.len(), http.route = r, "a b" = %x, r#type = t,));
        let expected = [
            ("n", false),
            ("id", true),
            ("count", false),
            ("http.route", false),
            ("a b", true),
            ("type", false),
        ];
        assert_eq!(fields(given), expected.map(|(key, display)| (key.to_owned(), display)));
    }

    #[test]
    fn a_wrong_option_is_named() {
        let item = || {
            quote!(
                fn f() {}
            )
        };
        for (options, why) in [
            (
                quote!(nam = "x"),
                "unknown option: expected `name`, `kind`, `fields(…)`, `skip_err` or `crate`",
            ),
            (quote!(name = ""), "empty"),
            (quote!(name = 5), "expected string literal"),
            (quote!(skip_err, skip_err), "given twice"),
            (
                quote!(kind = "sever"),
                "expected \"internal\", \"server\", \"client\", \"producer\" or \"consumer\"",
            ),
            (quote!(fields(v.len())), "expected `=`"),
            (quote!(fields(len(v))), "name the attribute: `key = …`"),
        ] {
            assert_eq!(error(options, item()), why);
        }
    }

    #[test]
    fn what_cannot_be_traced_is_refused() {
        assert_eq!(
            error(
                quote!(),
                quote!(
                    const fn f() {}
                )
            ),
            "a `const fn` cannot be traced: it may run in the compiler"
        );
        assert_eq!(
            error(
                quote!(),
                quote!(
                    fn f();
                )
            ),
            "this attribute needs a function with a body"
        );
        assert_eq!(
            error(
                quote!(),
                quote!(
                    const F: u8 = 1;
                )
            ),
            "this attribute goes on a function"
        );
    }

    #[test]
    fn a_function_without_a_result_has_only_a_guard() {
        let expanded = expand(
            quote!(crate = ops),
            quote!(
                pub fn f(n: u8) -> u8 {
                    n
                }
            ),
        )
        .unwrap();
        let expected = quote! {
            pub fn f(n: u8) -> u8 {
                let guard = ops::__private::trace::Span::at({
                    static CALLSITE: ops::__private::trace::Callsite =
                        ops::__private::trace::Callsite::new(
                            "f",
                            ::core::module_path!(),
                            ::core::file!(),
                            ::core::line!(),
                        );
                    &CALLSITE
                }).enter();
                { n }
            }
        };
        assert_eq!(expanded.to_string(), expected.to_string());
    }

    #[test]
    fn only_a_function_that_ends_in_a_pinned_async_block_is_a_boxed_future() {
        let boxed = |item| BoxedFuture::of(&syn::parse2::<Function>(item).unwrap());
        let found = boxed(quote! {
            fn f() -> ::core::pin::Pin<Box<dyn Future<Output = u8> + Send + 'static>> {
                let n = 1;
                Box::pin(async move { n })
            }
        });
        let found = found.unwrap();
        assert_eq!(found.output.to_token_stream().to_string(), "u8");
        assert_eq!(found.before.len(), 1);
        assert!(
            boxed(quote!(
                fn f() -> Pin<Box<dyn Future<Output = u8>>> {
                    g()
                }
            ))
            .is_none()
        );
        assert!(
            boxed(quote!(
                fn f() -> u8 {
                    Box::pin(async { 1 })
                }
            ))
            .is_none()
        );
    }
}
