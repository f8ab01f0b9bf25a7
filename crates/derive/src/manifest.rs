//! By which path the crate that is compiled reaches `thalweg-nn`.

use std::path::Path;

/// `::thalweg::nn` where the manifest names the facade (or is the facade's own), else `::thalweg_nn`.
pub(crate) fn nn_path() -> syn::Path {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|folder| std::fs::read_to_string(Path::new(&folder).join("Cargo.toml")).ok());
    // Without a manifest (another build system) the facade is what users have.
    if manifest.is_none_or(|manifest| names_facade(&manifest)) {
        syn::parse_quote!(::thalweg::nn)
    } else {
        syn::parse_quote!(::thalweg_nn)
    }
}

/// Whether a manifest depends on `thalweg` or is its own: `thalweg = "0.1"`, `thalweg.workspace = true`,
/// `[dependencies.thalweg]`, `name = "thalweg"`.
fn names_facade(manifest: &str) -> bool {
    manifest.lines().map(|line| line.split('#').next().unwrap_or_default()).any(|line| {
        let line: String = line.chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
        let key = line.split(['=', '.', '[', ']']).find(|part| !part.is_empty()).unwrap_or_default();
        key == "thalweg" || line == "name=thalweg" || (line.starts_with('[') && line.ends_with("dependencies.thalweg]"))
    })
}

#[cfg(test)]
mod tests {
    use super::names_facade;

    #[test]
    fn the_facade_is_found_in_all_its_spellings() {
        for line in [
            "thalweg = \"0.1\"",
            "thalweg.workspace = true",
            "thalweg={path=\"..\"}  # the facade",
            "[dependencies.thalweg]",
            "[target.'cfg(unix)'.dev-dependencies.thalweg]",
            "name = \"thalweg\"",
        ] {
            assert!(names_facade(&format!("[package]\nedition = \"2024\"\n{line}\n")), "{line}");
        }
    }

    #[test]
    fn other_crates_of_the_family_are_not_the_facade() {
        for line in ["thalweg-nn.workspace = true", "thalweg-zoo = \"1\"", "name = \"thalweg-nn\"", "# thalweg = \"1\""]
        {
            assert!(!names_facade(line), "{line}");
        }
    }
}
