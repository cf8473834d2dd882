//! The function that a macro stands on. Its body stays tokens, so that the compiler reports what
//! is wrong in it.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, GenericArgument, PathArguments, ReturnType, Signature, Token, Type, Visibility,
};

/// A function with a body.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        if !starts_a_function(input) {
            return Err(input.error("this attribute goes on a function"));
        }
        let sig = input.parse()?;
        if input.peek(Token![;]) {
            return Err(input.error("this attribute needs a function with a body"));
        }
        match input.parse()? {
            TokenTree::Group(body) => Ok(Self { attrs, vis, sig, body }),
            other => Err(syn::Error::new(other.span(), "expected the body of the function")),
        }
    }
}

impl Function {
    /// The function with another body.
    pub(crate) fn with_body(&self, body: &TokenStream) -> TokenStream {
        let Self { attrs, vis, sig, .. } = self;
        quote!(#(#attrs)* #vis #sig { #body })
    }
}

fn starts_a_function(input: ParseStream<'_>) -> bool {
    input.peek(Token![fn])
        || input.peek(Token![async])
        || input.peek(Token![unsafe])
        || input.peek(Token![extern])
        || (input.peek(Token![const])
            && (input.peek2(Token![fn])
                || input.peek2(Token![async])
                || input.peek2(Token![unsafe])
                || input.peek2(Token![extern])))
}

/// A statement that tells the compiler what an `async` block returns, which it cannot know of one
/// that contains `?`; nothing where nothing need be told.
pub(crate) fn return_hint(output: Option<&Type>) -> TokenStream {
    match output.map(without_impl) {
        None | Some(Type::Never(_) | Type::Infer(_)) => quote!(),
        Some(output) => quote! {
            if let ::core::option::Option::Some(never) = ::core::option::Option::None::<#output> {
                return never;
            }
        },
    }
}

/// The type behind the arrow.
pub(crate) fn returned(output: &ReturnType) -> Option<&Type> {
    match output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some(ty),
    }
}

/// The type with `_` for every `impl Trait`, which may not stand within a function.
pub(crate) fn without_impl(ty: &Type) -> Type {
    let mut ty = ty.clone();
    erase_impl(&mut ty);
    ty
}

fn erase_impl(ty: &mut Type) {
    match ty {
        Type::ImplTrait(_) => *ty = Type::Infer(syn::parse_quote!(_)),
        Type::Array(array) => erase_impl(&mut array.elem),
        Type::Group(group) => erase_impl(&mut group.elem),
        Type::Paren(paren) => erase_impl(&mut paren.elem),
        Type::Reference(reference) => erase_impl(&mut reference.elem),
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(erase_impl),
        Type::Path(path) => {
            for segment in &mut path.path.segments {
                let PathArguments::AngleBracketed(arguments) = &mut segment.arguments else {
                    continue;
                };
                for argument in &mut arguments.args {
                    if let GenericArgument::Type(ty) = argument {
                        erase_impl(ty);
                    }
                }
            }
        }
        _ => {}
    }
}

/// The text of a name, without `r#`.
pub(crate) fn plain(ident: &syn::Ident) -> String {
    let text = ident.to_token_stream().to_string();
    text.strip_prefix("r#").map(str::to_owned).unwrap_or(text)
}
