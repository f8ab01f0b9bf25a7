//! Derive macros of Thalweg: [`macro@Module`].

use proc_macro::TokenStream;

mod manifest;
mod module;

/// Implements `Module` for a struct: its variables are those of its fields, named by the path of fields.
///
/// Every field must be a module itself (a layer, a `Variable`, a struct that derives `Module`, and `Option`, `Box`,
/// `Arc`, `Vec`, arrays and tuples of such); plain numbers, `bool` and `String` hold no variables and may stand beside
/// them.
///
/// | attribute | on | meaning |
/// | --- | --- | --- |
/// | `#[module(skip)]` | a field | holds no variables, need not be a module |
/// | `#[module(name = "w")]` | a field | is called `w` in paths |
/// | `#[module(crate = "path")]` | the struct | where the traits of `thalweg-nn` are found |
///
/// Without the last, the traits are taken from `thalweg::nn` if the manifest of the crate that is compiled names
/// `thalweg`, else from `thalweg_nn`.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    module::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
