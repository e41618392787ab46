//! CPU of an expression over a page.

use std::time::{Duration, Instant};

use sitewatch::model::expression::Expression;

/// Prints what one search takes, in ms.
pub fn print() {
    println!(
        "\nan expression over a page, in ms            10 KiB         100 KiB         256 KiB"
    );
    println!(
        "{:<34}{:>10}{:>6}{:>10}{:>6}{:>10}{:>6}",
        "", "hit", "miss", "hit", "miss", "hit", "miss"
    );
    let kinds = [
        ("plain text", "Add to basket"),
        ("begins with text", "Add to .*basket"),
        ("holds text", r"\d+ items? in stock"),
        ("case does not count", "(?i)add to basket"),
        ("no text at all", r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    ];
    for (name, text) in kinds {
        let expression = Expression::new(text).unwrap();
        print!("{name:<34}");
        for kib in [10, 100, 256] {
            let filler = "filler text of a page, neither long nor short. ".repeat(kib * 1024 / 47);
            let hit = filler.clone() + "Add to basket: 12 items in stock since 2026-11-21";
            for (page, wanted) in [(&hit, true), (&filler, false)] {
                let began = Instant::now();
                let mut count = 0;
                while count < 5 || began.elapsed() < Duration::from_millis(100) {
                    assert_eq!(expression.find(page).is_some(), wanted, "{text}");
                    count += 1;
                }
                let ms = began.elapsed().as_secs_f64() * 1000.0 / f64::from(count);
                print!("{ms:>width$.2}", width = if wanted { 10 } else { 6 });
            }
        }
        println!();
    }
}
