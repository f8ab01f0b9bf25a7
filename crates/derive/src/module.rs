//! `#[derive(Module)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, GenericParam, LitStr, Member, Path, Result};

/// `impl Module for …`: enters each field under its name.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(
            input.ident.span(),
            "Module is derived for structs; for an enum write `impl Module` and visit the fields of each variant",
        ));
    };
    let nn = match crate_attribute(input)? {
        Some(path) => path,
        None => crate::manifest::nn_path(),
    };
    let visits: Vec<TokenStream> =
        members(&data.fields).map(|(member, field)| visit(&nn, &member, field)).collect::<Result<_>>()?;
    let mut generics = input.generics.clone();
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter.bounds.push(syn::parse_quote!(#nn::Module));
        }
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let name = &input.ident;
    // A module without fields to visit looks at neither.
    let (path, visitor) = match visits.iter().all(TokenStream::is_empty) {
        true => (quote!(_), quote!(_)),
        false => (quote!(path), quote!(visitor)),
    };
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #nn::Module for #name #type_generics #where_clause {
            fn visit(&self, #path: &mut #nn::Path, #visitor: &mut #nn::Visitor<'_>) {
                #(#visits)*
            }
        }
    })
}

fn members(fields: &Fields) -> impl Iterator<Item = (Member, &Field)> {
    fields.members().zip(fields)
}

/// The line that visits a field; nothing for a skipped one.
fn visit(nn: &Path, member: &Member, field: &Field) -> Result<TokenStream> {
    let attributes = FieldAttributes::parse(field)?;
    if attributes.skip {
        return Ok(TokenStream::new());
    }
    let name = attributes.name.unwrap_or_else(|| match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    });
    let span = field.ty.span();
    // Spanned at the field's type, so that "is not a module" points there.
    Ok(quote::quote_spanned! { span =>
        path.enter(#name, |path| #nn::Module::visit(&self.#member, path, visitor));
    })
}

#[derive(Default)]
struct FieldAttributes {
    skip: bool,
    name: Option<String>,
}

impl FieldAttributes {
    fn parse(field: &Field) -> Result<FieldAttributes> {
        let mut found = FieldAttributes::default();
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("module")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    found.skip = true;
                    Ok(())
                } else if meta.path.is_ident("name") {
                    let name: LitStr = meta.value()?.parse()?;
                    if name.value().is_empty() || name.value().contains(['.', '/']) {
                        return Err(Error::new(name.span(), "a name in a path: not empty, without `.` and `/`"));
                    }
                    found.name = Some(name.value());
                    Ok(())
                } else {
                    Err(meta.error("a field takes #[module(skip)] or #[module(name = \"…\")]"))
                }
            })?;
        }
        Ok(found)
    }
}

/// The path in `#[module(crate = "…")]`.
fn crate_attribute(input: &DeriveInput) -> Result<Option<Path>> {
    let mut found = None;
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("module")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("a struct takes #[module(crate = \"…\")]; `skip` and `name` go on fields"));
            }
            found = Some(meta.value()?.parse::<LitStr>()?.parse_with(Path::parse_mod_style)?);
            Ok(())
        })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(input: DeriveInput) -> String {
        expand(&input).map_or_else(|error| error.to_string(), |tokens| tokens.to_string())
    }

    #[test]
    fn fields_are_entered_by_name_and_skipped_ones_are_not() {
        let text = expanded(syn::parse_quote! {
            #[module(crate = "nn")]
            struct Net<M> { r#in: M, #[module(name = "out")] last: M, #[module(skip)] width: Vec<u8> }
        });
        assert!(text.contains("path . enter (\"in\" ,") && text.contains("path . enter (\"out\" ,"), "{text}");
        assert!(!text.contains("width"), "{text}");
        assert!(text.contains("impl < M : nn :: Module > nn :: Module for Net < M >"), "{text}");
    }

    #[test]
    fn what_cannot_be_derived_is_said() {
        assert!(expanded(syn::parse_quote! { enum Net { A } }).contains("derived for structs"));
        let wrong_key = syn::parse_quote! { struct Net { #[module(skipped)] a: u8 } };
        assert!(expanded(wrong_key).contains("#[module(skip)]"));
        let wrong_name = syn::parse_quote! { struct Net { #[module(name = "a.b")] a: u8 } };
        assert!(expanded(wrong_name).contains("without `.`"));
        let wrong_place = syn::parse_quote! { #[module(skip)] struct Net { a: u8 } };
        assert!(expanded(wrong_place).contains("go on fields"));
    }
}
