//! The output of `config --print`.

use super::*;

#[test]
fn what_is_printed_reads_again_and_hides_secrets() {
    let text = r#"
        node = "a\"b\\c\u0007"
        targets = ["https://user:secret@example.org/a?secret"]
        [serve]
        listen = "[::1]:8380"
        [[target]]
        name = "$${x} ä"
        url = "example.org"
        headers = { Accept = "a", Authorization = "secret", "X|Y" = "secret" }
        body = "secret"
        match = ['\d+"', "[$${]"]
        match_header = { "X|Y" = ["a", 'b"'], Vary = "c" }
        attempts = 2
        min_cert_days = 7
        status = [200, "300-399"]
        slow_after = "1m30s"
        labels = { "a b" = "c\td" }
        nodes = ["shop-*"]
        excerpt = "1KiB"
    "#;
    assert!(config("print", text).is_err(), "the node holds a control character");
    let config = |text: &str| config("print", text).unwrap();
    let text = text.replace("\\u0007", "").replace("c\\td", "c d");
    let printed = print(&config(&text));
    assert!(!printed.contains("secret"), "{printed}");
    for line in [
        r#"node = "a\"b\\c""#,
        r#"url = "https://***@example.org/a?***""#,
        r#"headers = { "Accept" = "a", "Authorization" = "***", "X|Y" = "***" }"#,
        r#"body = "***""#,
        r#"match = ["\\d+\"", "[$${]"]"#,
        r#"match_header = { "X|Y" = ["a", "b\""], "Vary" = ["c"] }"#,
        r#"reject_header = {}"#,
        r#"attempts = 2"#,
        r#"timeout = "10s""#,
        r#"status = ["200", "300-399"]"#,
        r#"name = "$${x} ä""#,
        r#"slow_after = "1m30s""#,
        r#"listen = "[::1]:8380""#,
        r#"nodes = ["shop-*"]"#,
        "# ca_file = none",
    ] {
        assert!(printed.lines().any(|found| found == line), "{line} is not in:\n{printed}");
    }
    let again = config(&printed);
    assert_eq!(print(&again), printed);
}
