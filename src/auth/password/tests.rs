use super::*;

/// Of "secret", with a salt of twelve bytes.
const SHA512: &str = "$6$AAECAwQFBgcICQoL$JqsxEv/ucyxjA5DKsQ+Y8CDWaQDNQI9FpAkmfwAqWfwZLk/JEGgM0EpylrJHAZKKyFQjJeZ3nFaHjPzOzPPmPw==";
const PBKDF2: &str = "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w==";

fn file(text: &str) -> PasswordFile {
    PasswordFile::parse(text).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn faults(text: &str) -> Vec<String> {
    let faults = PasswordFile::parse(text).unwrap_err();
    faults.iter().map(Fault::to_string).collect()
}

/// `m=64,t=1,p=1`, cheap enough for tests.
fn argon2id(costs: &str) -> String {
    format!(
        "$argon2id$v=19${costs}$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    )
}

#[test]
fn lines_of_mosquitto_are_verified_as_they_are() {
    let file = file(&format!(
        "# users\n\nann:{SHA512}\r\n  bob smith :{PBKDF2} \n#cy:{PBKDF2}\n"
    ));
    assert_eq!(file.len(), 2);
    for user in ["ann", "bob smith"] {
        assert!(file.verify(user, b"secret"), "{user}");
        for wrong in [&b"Secret"[..], b"secret ", b"secre", b"secret1", b""] {
            assert!(!file.verify(user, wrong), "{user}");
        }
    }
    for unknown in ["cy", "#cy", "", "Ann", "ann ", "bob"] {
        assert!(!file.verify(unknown, b"secret"), "{unknown}");
    }
    assert_eq!(file.stored("ann"), Some(SHA512));
    assert_eq!(file.stored("cy"), None);
}

#[test]
fn a_new_hash_verifies_and_no_two_are_the_same() {
    let (one, other) = (hash(b"s3\xff").unwrap(), hash(b"s3\xff").unwrap());
    assert_ne!(one, other);
    assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
    let file = file(&format!("ann:{one}\nbob:{other}"));
    assert!(file.verify("ann", b"s3\xff") && file.verify("bob", b"s3\xff"));
    assert!(!file.verify("ann", b"s3"));
}

#[test]
fn a_file_without_users_lets_nobody_in() {
    for text in ["", "\n", "# nobody\n\n  \n"] {
        let file = file(text);
        assert!(file.is_empty());
        assert!(!file.verify("ann", b"") && !file.verify("", b""));
    }
}

#[test]
fn every_faulty_line_is_named_with_its_fix_and_without_its_hash() {
    let found = faults(&format!(
        "ann:{SHA512}\nbob\n:{SHA512}\nann:{PBKDF2}\ncy:letmein\ndee:\n  #x:{SHA512}\neve\u{1b}:{SHA512}\nfay:{SHA512}:groups\n"
    ));
    let expected = [
        "line 2: there is no colon in it; remove the line, or begin it with # to keep it as a comment",
        "line 3: the name is empty; remove",
        "line 4: its user is also on line 1; remove one of both",
        "line 5: it has a password in clear text, or something else that is no hash; set this user's password again",
        "line 6: its user has no hash; set",
        "line 7: the name begins with #; remove",
        "line 8: the name has a control character in it; remove",
        "line 9: the sum in its hash is not base64; set",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
        assert!(!found.contains("letmein") && !found.contains("JqsxEv"));
    }
}

#[test]
fn a_damaged_hash_is_a_fault_and_never_a_user_without_password() {
    let (salt, sum) = ("AAECAwQFBgcICQoL", &SHA512[20..]);
    for hash in [
        "$6$".to_owned(),
        format!("$6${salt}"),
        format!("$6${salt}$"),
        format!("$6${salt}${}", &sum[..84]),
        format!("$6${salt}${sum}$"),
        format!("$6${}${sum}", &salt[..12]),
        format!("$6$${sum}"),
        format!("$6${salt}${}", sum.trim_end_matches('=')),
        format!("$7${salt}${sum}"),
        format!("$7$0${salt}${sum}"),
        format!("$7$-1${salt}${sum}"),
        format!("$7$+101${salt}${sum}"),
        format!("$7$0101${salt}${sum}"),
        format!("$7$10000001${salt}${sum}"),
        format!("$7$99999999999999999999${salt}${sum}"),
        format!("$5${salt}${sum}"),
        "$2b$12$abcdefghijklmnopqrstuv".to_owned(),
        argon2id("m=64,t=1,p=1").replace("argon2id", "argon2i"),
        argon2id("m=64,t=1,p=1").replace("v=19", "v=16"),
        argon2id("m=64,t=1,p=1") + "=",
        argon2id("m=64,t=1"),
        argon2id("t=1,m=64,p=1"),
        argon2id("m=64,t=1,p=1,keyid=AA"),
        // salts and sums that are too short
        "$argon2id$v=19$m=64,t=1,p=1$AAEC$AAECAwQFBgcICQoLDA0ODw".to_owned(),
        "$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoL".to_owned(),
    ] {
        assert_eq!(faults(&format!("ann:{hash}")).len(), 1, "{hash}");
    }
}

#[test]
fn a_hash_that_asks_for_too_much_is_refused_before_it_is_computed() {
    for costs in [
        "m=262145,t=1,p=1",
        "m=4194304,t=1,p=1",
        "m=64,t=11,p=1",
        "m=4096,t=1,p=9",
        "m=15,t=1,p=2",
        "m=0,t=1,p=1",
        "m=64,t=0,p=1",
        "m=64,t=1,p=0",
        "m=4294967297,t=1,p=1",
    ] {
        assert!(
            faults(&format!("ann:{}", argon2id(costs)))[0].contains("costs"),
            "{costs}"
        );
    }
    for costs in ["m=262144,t=10,p=8", "m=16,t=1,p=2"] {
        file(&format!("ann:{}", argon2id(costs)));
    }
}

#[test]
fn an_unknown_user_costs_what_most_users_cost() {
    let kinds = [
        (SHA512.to_owned(), 1),
        (argon2id("m=64,t=3,p=1"), 2),
        (PBKDF2.to_owned(), 1),
        (argon2id("m=64,t=1,p=1"), 1),
    ];
    let hashes = kinds.iter().flat_map(|(hash, count)| vec![hash; *count]);
    let lines = hashes.enumerate().map(|(i, hash)| format!("u{i}:{hash}\n"));
    let file = file(&lines.collect::<String>());
    assert_eq!(file.dummy.cost(), file.users["u1"].stored.cost());
    assert!(!file.verify("nobody", b"secret"));
}

#[test]
fn names_that_would_break_a_line_are_refused() {
    let longest = "n".repeat(MAX_NAME);
    for good in [
        "a",
        "Ämter",
        "a b",
        "user@example.com",
        "%u",
        "a#b",
        &longest,
    ] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
    for (bad, fault) in [
        ("", NameFault::Empty),
        ("a:b", NameFault::Colon),
        ("a\nb", NameFault::Control),
        ("a\0", NameFault::Control),
        ("\u{85}a", NameFault::Control),
        ("\u{feff}a", NameFault::Control),
        (" a", NameFault::Space),
        ("a\u{a0}", NameFault::Space),
        ("#a", NameFault::Comment),
    ] {
        assert_eq!(check_name(bad), Err(fault), "{bad:?}");
    }
    assert_eq!(check_name(&(longest + "n")), Err(NameFault::TooLong));
}

#[test]
fn a_file_that_is_not_there_not_text_or_far_too_large_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwd");
    let error = || PasswordFile::load(&path).unwrap_err().to_string();
    assert!(error().starts_with("cannot be read: "));
    std::fs::write(&path, b"# one\n# two\nann\xff:x\n").unwrap();
    assert_eq!(error(), "line 3: is not UTF-8 text; save the file as UTF-8");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(MAX_FILE + 1).unwrap();
    assert!(error().contains("larger than 64 MiB"));
}

#[test]
fn a_password_file_shows_no_hash() {
    let shown = format!("{:?}", file(&format!("ann:{SHA512}")));
    assert_eq!(shown, "PasswordFile(1 users)");
}
