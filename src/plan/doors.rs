//! How links are opened: whether host, backup, TLS, listening and RS-485 of the file fit together.

use std::net::SocketAddr;

use super::ranges;
use crate::config::Config;
use crate::drivers::modbus::config::{Rts, SerialLink, TcpLink};
use crate::drivers::modbus::identity;
use crate::drivers::modbus::target::Target;
use crate::model::{Mistake, Spanned};

/// How one Modbus TCP link is opened.
pub(super) fn tcp(link: &TcpLink, mistakes: &mut Vec<Mistake>) {
    match (&link.host, &link.listen) {
        (None, None) => mistakes.push(Mistake::new(
            "no-host",
            link.name.span(),
            "the link has neither `host` nor `listen`",
            "add `host = \"…\"` where the gateway dials, `listen = \"…\"` where the device does",
        )),
        (Some(_), Some(listen)) => mistakes.push(Mistake::new(
            "host-and-listen",
            listen.span(),
            "the link has both `host` and `listen`",
            "leave one out: `host` where the gateway dials, `listen` where the device does",
        )),
        (Some(host), None) if host.get_ref().trim().is_empty() => mistakes.push(Mistake::new(
            "no-host",
            host.span(),
            "the host is empty",
            "write a host name or an IP address",
        )),
        _ => {}
    }
    if let Some(port) = &link.port {
        ranges::number("port", port, 1..=u16::MAX, mistakes);
    }
    if let Some(backup) = &link.backup
        && let Err(why) = Target::parse(backup.get_ref(), 502)
    {
        mistakes.push(Mistake::new(
            "bad-backup",
            backup.span(),
            format!("the backup address cannot be read: {why}"),
            "write `10.0.0.6`, `10.0.0.6:502` or `[fe80::1]:502`",
        ));
    }
    listening(link, mistakes);
    tls(link, mistakes);
}

fn listening(link: &TcpLink, mistakes: &mut Vec<Mistake>) {
    if let Some(identity) = &link.identity {
        if link.listen.is_none() {
            mistakes.push(Mistake::new(
                "identity-without-listen",
                identity.span(),
                "`identity` says who dials in, but this link does not listen",
                "add `listen = \"…\"`, or leave `identity` out",
            ));
        }
        if let Err(why) = identity::parse(identity.get_ref()) {
            mistakes.push(Mistake::new(
                "bad-identity",
                identity.span(),
                format!("the identity cannot be read: {why}"),
                "write the modem's registration bytes: text, or hexadecimal as `0x0102ab`",
            ));
        }
    }
    let Some(listen) = &link.listen else { return };
    if address(listen).is_none() {
        mistakes.push(Mistake::new(
            "bad-listen",
            listen.span(),
            format!("`{}` is no address to listen at", listen.get_ref()),
            "write an IP address of this machine and a port: \"127.0.0.1:5502\"",
        ));
    }
    for (key, there) in [
        ("port", link.port.as_ref().map(Spanned::span)),
        ("backup", link.backup.as_ref().map(Spanned::span)),
        ("tls", link.tls.as_ref().map(Spanned::span)),
    ] {
        if let Some(span) = there
            && link.host.is_none()
        {
            mistakes.push(Mistake::new(
                "not-with-listen",
                span,
                format!("`{key}` says how the gateway dials, but this link listens"),
                format!("leave `{key}` out"),
            ));
        }
    }
}

fn tls(link: &TcpLink, mistakes: &mut Vec<Mistake>) {
    let Some(table) = &link.tls else { return };
    if !cfg!(feature = "tls") {
        mistakes.push(Mistake::new(
            "no-tls",
            table.span(),
            "this build has no TLS",
            "use a build with the feature `tls`",
        ));
    }
    let tls = table.get_ref();
    let (lone, missing) = match (&tls.certificate, &tls.key) {
        (Some(_), None) => ("certificate", "key"),
        (None, Some(_)) => ("key", "certificate"),
        _ => return,
    };
    mistakes.push(Mistake::new(
        "lone-certificate",
        table.span(),
        format!("there is a `{lone}` but no `{missing}`; the one is of no use without the other"),
        format!("add `{missing} = \"…\"`, or leave `{lone}` out"),
    ));
}

/// How one serial port is switched to sending.
pub(super) fn serial(link: &SerialLink, mistakes: &mut Vec<Mistake>) {
    let delays = [("rts-delay-before", &link.rts_delay_before), ("rts-delay-after", &link.rts_delay_after)];
    for (key, delay) in delays {
        let Some(delay) = delay else { continue };
        let most = std::time::Duration::from_millis(100);
        ranges::period_within(key, delay, std::time::Duration::ZERO..=most, mistakes);
        if link.rts == Rts::None {
            mistakes.push(Mistake::new(
                "delay-without-rts",
                delay.span(),
                format!("`{key}` delays the switch to sending, but nothing is switched"),
                format!("add `rts = \"…\"`, or leave `{key}` out"),
            ));
        }
    }
}

fn address(listen: &Spanned<String>) -> Option<SocketAddr> {
    listen.get_ref().parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

/// The addresses that links listen at, each once and with its first place.
pub(super) fn listeners(config: &Config) -> Vec<(SocketAddr, std::ops::Range<usize>)> {
    let mut found: Vec<(SocketAddr, _)> = Vec::new();
    for listen in config.link.modbus_tcp.iter().filter_map(|link| link.get_ref().listen.as_ref()) {
        if let Some(address) = address(listen)
            && !found.iter().any(|(known, _)| *known == address)
        {
            found.push((address, listen.span()));
        }
    }
    found
}

/// Links that share an address, and what everybody can reach.
pub(super) fn between(config: &Config, mistakes: &mut Vec<Mistake>, warnings: &mut Vec<Mistake>) {
    let mut seen: Vec<(SocketAddr, Option<Vec<u8>>, &str)> = Vec::new();
    for link in config.link.modbus_tcp.iter().map(Spanned::get_ref) {
        let Some((listen, address)) = link.listen.as_ref().and_then(|l| Some((l, address(l)?))) else {
            continue;
        };
        let own = match &link.identity {
            None => None,
            Some(identity) => match identity::parse(identity.get_ref()) {
                Ok(identity) => Some(identity),
                Err(_) => continue,
            },
        };
        let place = link.identity.as_ref().map_or(listen.span(), Spanned::span);
        for (_, other, name) in seen.iter().filter(|(at, ..)| *at == address) {
            let (own, other) = (own.as_deref().unwrap_or_default(), other.as_deref().unwrap_or_default());
            if own.starts_with(other) || other.starts_with(own) {
                mistakes.push(Mistake::new(
                    "same-identity",
                    place.clone(),
                    format!("who dials in to {address} cannot be told apart from the device of `{name}`"),
                    "give each link of one address its own `identity`; none may be the beginning of another",
                ));
            }
        }
        if !address.ip().is_loopback() {
            warnings.push(Mistake::new(
                "open-door",
                listen.span(),
                format!("whoever reaches {address} can pretend to be a device: Modbus has no log-in"),
                "let modems reach it through a VPN or a private APN only",
            ));
        }
        seen.push((address, own, link.name.get_ref()));
    }
}
