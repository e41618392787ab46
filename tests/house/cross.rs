//! The two ways to build agree: each target of `cross/toolchain` has its part in `Cross.toml`.

use std::fs;

/// What the shell reads between `targets="` and the next quote.
fn targets() -> Vec<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/cross/toolchain")).unwrap();
    let list = text.split_once("\ntargets=\"").unwrap().1.split('"').next().unwrap();
    list.split_whitespace().filter(|word| *word != "\\").map(str::to_owned).collect()
}

/// Without its image `cross` builds a target on the host, and without the name the recipe refuses.
#[test]
fn every_target_has_its_image_and_its_name_in_the_container() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cross.toml")).unwrap();
    let found: Vec<&str> = text.split("\n[target.").skip(1).map(str::trim_end).collect();
    let expected: Vec<String> = targets()
        .iter()
        .map(|target| {
            format!(
                "{target}]\nimage = \"sitewatch-cross\"\n\
                 env.passthrough = [\"SITEWATCH_TARGET={target}\"]"
            )
        })
        .collect();
    assert_eq!(expected.len(), 6);
    assert_eq!(found, expected);
}
