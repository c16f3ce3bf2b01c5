//! What `[publish.opcua]` takes and what it refuses.

use super::*;

const USER: &str = "[[user]]\nname = \"op\"\npassword = { env = \"P\" }\n";

fn compiled(text: &str) -> Result<Spec, Vec<Mistake>> {
    compile(&toml::from_str(text).unwrap())
}

/// The codes of all mistakes, each with the text that it points at.
fn mistakes(text: &str) -> Vec<(&'static str, &str)> {
    compiled(text).unwrap_err().iter().map(|m| (m.code, &text[m.span.clone()])).collect()
}

#[test]
fn the_defaults_are_loopback_and_two_encrypted_endpoints() {
    let spec = compiled(USER).unwrap();
    assert_eq!(spec.listen.to_string(), "127.0.0.1:4840");
    assert_eq!(spec.security, [Security::Basic256Sha256, Security::Aes256]);
    assert!(!spec.anonymous && spec.users[0].role == Role::Observer);
    assert_eq!(spec, Spec { users: spec.users.clone(), ..Spec::default() });
    assert_eq!(spec.trust, Trust::Required);
    assert_eq!(compiled(&format!("trust = \"any\"\n{USER}")).unwrap().trust, Trust::Any);
}

#[test]
fn anonymous_over_none_on_loopback_needs_no_user() {
    let spec = compiled("listen = \"localhost:0\"\nsecurity = [\"none\"]\nanonymous = true").unwrap();
    assert_eq!((spec.listen.port(), spec.security.len(), spec.anonymous), (0, 1, true));
}

#[test]
fn an_address_has_an_ip_and_a_port() {
    for bad in ["4840", "127.0.0.1", "gateway:4840", "localhost:99999", ""] {
        let text = format!("listen = \"{bad}\"\n{USER}");
        assert_eq!(mistakes(&text), [("bad-listen", format!("\"{bad}\"").as_str())]);
    }
    assert!(compiled(&format!("listen = \"0.0.0.0:4840\"\n{USER}")).is_ok());
}

#[test]
fn without_security_only_loopback_may_be_listened_on() {
    let text =
        format!("listen = \"0.0.0.0:4840\"\nsecurity = [\"aes256\", \"none\"]\nanonymous = true\n{USER}");
    assert_eq!(mistakes(&text), [("none-not-loopback", "\"none\"")]);
}

#[test]
fn a_list_of_endpoints_is_not_empty_and_names_none_twice() {
    assert_eq!(mistakes(&format!("security = []\n{USER}")), [("no-security", "[]")]);
    let text = format!("security = [\"aes256\", \"aes256\"]\n{USER}");
    assert_eq!(mistakes(&text), [("duplicate-security", "\"aes256\"")]);
}

#[test]
fn anonymous_goes_with_none_and_none_with_anonymous() {
    assert_eq!(mistakes(&format!("anonymous = true\n{USER}")), [("anonymous-without-none", "true")]);
    let text = format!("security = [\"none\", \"aes256\"]\n{USER}");
    assert_eq!(mistakes(&text), [("none-without-anonymous", "\"none\"")]);
}

#[test]
fn users_need_an_encrypted_endpoint_and_may_come_later() {
    assert!(compiled("security = [\"aes256\"]").unwrap().users.is_empty(), "`user add` makes them");
    let text = format!("security = [\"none\"]\nanonymous = true\n{USER}");
    assert_eq!(mistakes(&text), [("user-without-endpoint", "\"op\"")]);
}

#[test]
fn a_user_has_a_role_and_who_writes_the_old_key_is_told_which() {
    let role = |text: &str| compiled(&format!("{USER}{text}")).map(|spec| spec.users[0].role);
    assert_eq!(role("role = \"engineer\"").unwrap(), Role::Engineer);
    for (old, new) in [("true", "operator"), ("false", "observer")] {
        let wrong = role(&format!("write = {old}")).unwrap_err();
        assert_eq!((wrong.len(), wrong[0].code), (1, "write-is-a-role"));
        assert!(wrong[0].help.contains(&format!("role = \"{new}\"")), "{}", wrong[0].help);
    }
}

#[test]
fn what_only_an_engineer_writes_are_tags_or_all_below_a_folder() {
    let spec = compiled(&format!("engineer-only = [\"pump/limit\", \"pump/setup/*\"]\n{USER}")).unwrap();
    assert_eq!(spec.engineer_only, ["pump/limit", "pump/setup/"]);
    for bad in ["", "*", "/*", "pump", "pump/*/x", "pump/se*"] {
        let text = format!("engineer-only = [\"{bad}\"]\n{USER}");
        assert_eq!(mistakes(&text), [("bad-engineer-only", format!("\"{bad}\"").as_str())]);
    }
}

#[test]
fn a_client_to_dial_has_a_host_and_a_port() {
    let spec =
        compiled(&format!("reverse-connect = [\"opc.tcp://[::1]:4841\", \"opc.tcp://scada:4841/\"]\n{USER}"));
    assert_eq!(spec.unwrap().reverse_connect, [("[::1]".to_owned(), 4841), ("scada".to_owned(), 4841)]);
    for bad in [
        "",
        "scada:4841",
        "opc.tcp://scada",
        "http://scada:4841",
        "opc.tcp://u@scada:1",
        "opc.tcp://scada:1/x",
    ] {
        let text = format!("reverse-connect = [\"{bad}\"]\n{USER}");
        assert_eq!(mistakes(&text), [("bad-reverse-connect", format!("\"{bad}\"").as_str())]);
    }
}

#[test]
fn bounds_are_in_their_range() {
    let text = format!("max-connections = 0\nmax-sessions = 1001\n{USER}");
    assert_eq!(mistakes(&text), [("out-of-range", "0"), ("out-of-range", "1001")]);
    let bounds = compiled(&format!("max-connections = 7\n{USER}")).unwrap().bounds;
    assert_eq!((bounds.connections, bounds.per_address), (7, 7));
}

#[test]
fn users_have_names_of_their_own() {
    let text = format!("{USER}{USER}");
    assert_eq!(mistakes(&text), [("duplicate-user", "\"op\"")]);
    for bad in ["", " op", "ANONYMOUS"] {
        let text = USER.replace("\"op\"", &format!("\"{bad}\""));
        assert_eq!(mistakes(&text), [("bad-user-name", format!("\"{bad}\"").as_str())]);
    }
}

#[test]
fn a_host_is_a_name_without_a_port() {
    assert_eq!(mistakes(&format!("host = \"gw:4840\"\n{USER}")), [("bad-host", "\"gw:4840\"")]);
    assert!(compiled(&format!("host = \"::1\"\n{USER}")).is_ok());
}

#[test]
fn all_mistakes_come_at_once() {
    let text =
        "listen = \"x\"\nsecurity = []\nhost = \"\"\n[[user]]\nname = \"\"\npassword = { env = \"P\" }\n";
    let codes: Vec<_> = mistakes(text).iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["bad-listen", "no-security", "bad-user-name", "bad-host"]);
}
