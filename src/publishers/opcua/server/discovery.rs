//! Answers put right on their way out, where they are not encrypted: addresses that a client can reach, and nonces.
//!
//! GetEndpoints, FindServers and CreateSession answer with the host that the client dialled. ActivateSession answers with
//! a nonce of 32 bytes (OPC 10000-4 section 5.7.3.2): the library has none over None, and stacks refuse that.

use std::io::Cursor;
use std::net::IpAddr;

use opcua::crypto::random;
use opcua::types::{
    ActivateSessionResponse, ApplicationDescription, BinaryDecodable, BinaryEncodable, ContextOwned,
    CreateSessionResponse, EndpointDescription, FindServersResponse, GetEndpointsResponse, UAString,
};
use url::Url;

use crate::publishers::opcua::pki::bracketed;

/// The names that this server has.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// As in the library's own answers.
    own: String,
    /// What else it is called.
    others: Vec<String>,
}

/// Bytes before the type of a message: header, channel, token, sequence number, request.
const BODY: usize = 24;
/// Binary encoding ids of OPC 10000-6 annex A.
const FIND_SERVERS: u16 = 425;
const GET_ENDPOINTS: u16 = 431;
const CREATE_SESSION: u16 = 464;
const ACTIVATE_SESSION: u16 = 470;
/// Bytes of a nonce, the least that there may be.
const NONCE: usize = 32;

impl Names {
    pub(super) fn new(own: &str, others: Vec<String>) -> Names {
        Names { own: bracketed(own), others }
    }

    /// The host that the client wrote, where it is ours and another than the one that we answer anyhow. `at` is the
    /// address on which it came in. OPC 10000-4 section 5.4.4: the endpoints that the client's address reaches.
    pub(super) fn reached_as(&self, url: &str, at: IpAddr) -> Option<String> {
        let url = Url::parse(url).ok()?;
        let host = url.host_str()?;
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let ours = match plain.parse::<IpAddr>() {
            Ok(address) => address == at.to_canonical() || address == at,
            Err(_) => {
                host.eq_ignore_ascii_case("localhost") && at.to_canonical().is_loopback()
                    || self.others.iter().any(|name| name.eq_ignore_ascii_case(host))
            }
        };
        (ours && !host.eq_ignore_ascii_case(&self.own)).then(|| host.to_owned())
    }

    /// A message that is not encrypted, as it should have been, where it is one that is to be changed; `host` is put in
    /// where there is one.
    pub(super) fn put_right(&self, chunk: &[u8], host: Option<&str>) -> Option<Vec<u8>> {
        // The ids are a NodeId in four bytes: 1, the namespace 0, and a number.
        let (before, body) = chunk.split_at_checked(BODY + 4)?;
        let [1, 0, low, high] = before.get(BODY..)? else { return None };
        if !before.starts_with(b"MSGF") {
            return None;
        }
        let body = match (u16::from_le_bytes([*low, *high]), host) {
            (FIND_SERVERS, Some(host)) => again::<FindServersResponse>(body, |m| {
                m.servers.iter_mut().flatten().for_each(|s| self.server(s, host));
            }),
            (GET_ENDPOINTS, Some(host)) => again::<GetEndpointsResponse>(body, |m| {
                m.endpoints.iter_mut().flatten().for_each(|e| self.endpoint(e, host));
            }),
            (CREATE_SESSION, Some(host)) => again::<CreateSessionResponse>(body, |m| {
                m.server_endpoints.iter_mut().flatten().for_each(|e| self.endpoint(e, host));
            }),
            // Nothing is signed or encrypted with it: without security it only has to be there.
            (ACTIVATE_SESSION, _) => again::<ActivateSessionResponse>(body, |m| {
                if m.server_nonce.is_null_or_empty() {
                    m.server_nonce = random::byte_string(NONCE);
                }
            }),
            _ => None,
        }?;
        let mut changed = before.to_vec();
        changed.extend(body);
        let size = u32::try_from(changed.len()).ok()?.to_le_bytes();
        changed.iter_mut().skip(4).zip(size).for_each(|(to, from)| *to = from);
        Some(changed)
    }

    fn endpoint(&self, endpoint: &mut EndpointDescription, host: &str) {
        self.url(&mut endpoint.endpoint_url, host);
        self.server(&mut endpoint.server, host);
    }

    fn server(&self, server: &mut ApplicationDescription, host: &str) {
        server.discovery_urls.iter_mut().flatten().for_each(|url| self.url(url, host));
    }

    fn url(&self, url: &mut UAString, host: &str) {
        let ours = format!("opc.tcp://{}:", self.own);
        if let Some(rest) = url.as_ref().strip_prefix(&ours) {
            *url = format!("opc.tcp://{host}:{rest}").into();
        }
    }
}

/// Decodes, changes and encodes.
fn again<T: BinaryDecodable + BinaryEncodable>(body: &[u8], change: impl FnOnce(&mut T)) -> Option<Vec<u8>> {
    let context = ContextOwned::default();
    let context = context.context();
    let mut message = T::decode(&mut Cursor::new(body), &context).ok()?;
    change(&mut message);
    let mut encoded = Vec::with_capacity(body.len() + 256);
    message.encode(&mut encoded, &context).ok()?;
    Some(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_answered_with_the_host_that_it_dialled_where_it_is_ours() {
        let names = Names::new("gw.plant", vec!["box".into(), "gw.plant".into()]);
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let reached = |url: &str, on: &str| names.reached_as(url, at(on));
        assert_eq!(reached("opc.tcp://10.0.0.7:4840/", "10.0.0.7").as_deref(), Some("10.0.0.7"));
        assert_eq!(reached("opc.tcp://10.0.0.7:4840/", "::ffff:10.0.0.7").as_deref(), Some("10.0.0.7"));
        assert_eq!(reached("opc.tcp://[::1]:4840/", "::1").as_deref(), Some("[::1]"));
        assert_eq!(reached("opc.tcp://BOX:4840", "10.0.0.7").as_deref(), Some("BOX"));
        assert_eq!(reached("opc.tcp://localhost:4840", "127.0.0.1").as_deref(), Some("localhost"));
        for other in [
            "opc.tcp://gw.plant:4840",
            "opc.tcp://evil.example:4840",
            "opc.tcp://10.0.0.8:4840",
            "opc.tcp://localhost:4840",
            "gw",
            "",
        ] {
            assert_eq!(reached(other, "10.0.0.7"), None, "{other}");
        }
    }

    #[test]
    fn an_answer_with_endpoints_is_renamed_and_others_and_broken_ones_are_left() {
        let names = Names::new("gw", Vec::new());
        let url = |host: &str| UAString::from(format!("opc.tcp://{host}:4840/"));
        let mut answer = GetEndpointsResponse::default();
        let mut endpoint = EndpointDescription { endpoint_url: url("gw"), ..Default::default() };
        endpoint.server.discovery_urls = Some(vec![url("gw"), url("other")]);
        answer.endpoints = Some(vec![endpoint]);
        let context = ContextOwned::default();
        let mut chunk = b"MSGF\0\0\0\0".to_vec();
        chunk.extend([7; 16]);
        chunk.extend([1, 0, 175, 1]);
        answer.encode(&mut chunk, &context.context()).unwrap();
        let renamed = names.put_right(&chunk, Some("10.0.0.7")).unwrap();
        assert_eq!(
            usize::try_from(u32::from_le_bytes(*renamed[4..].first_chunk().unwrap())).unwrap(),
            renamed.len()
        );
        let mut body = Cursor::new(&renamed[28..]);
        let read = GetEndpointsResponse::decode(&mut body, &context.context()).unwrap();
        let endpoint = &read.endpoints.unwrap()[0];
        assert_eq!(endpoint.endpoint_url, url("10.0.0.7"));
        assert_eq!(endpoint.server.discovery_urls, Some(vec![url("10.0.0.7"), url("other")]));
        for cut in 0..chunk.len() {
            assert_eq!(names.put_right(&chunk[..cut], Some("x")), None);
        }
        chunk[26] = 176;
        assert_eq!(names.put_right(&chunk, Some("x")), None);
    }

    #[test]
    fn an_activated_session_has_a_nonce_of_32_bytes_also_where_the_library_gives_none() {
        let names = Names::new("gw", Vec::new());
        let context = ContextOwned::default();
        let answered = |nonce: &[u8]| {
            let nonce = if nonce.is_empty() { Default::default() } else { nonce.to_vec().into() };
            let answer = ActivateSessionResponse { server_nonce: nonce, ..Default::default() };
            let mut chunk = b"MSGF\0\0\0\0".to_vec();
            chunk.extend([7; 16]);
            chunk.extend([1, 0, 214, 1]);
            answer.encode(&mut chunk, &context.context()).unwrap();
            let changed = names.put_right(&chunk, None).unwrap();
            let size = u32::from_le_bytes(*changed[4..].first_chunk().unwrap());
            assert_eq!(usize::try_from(size).unwrap(), changed.len());
            let mut body = Cursor::new(&changed[28..]);
            ActivateSessionResponse::decode(&mut body, &context.context()).unwrap().server_nonce
        };
        let (one, other) = (answered(b""), answered(b""));
        assert_eq!((one.as_ref().len(), other.as_ref().len()), (32, 32));
        assert_ne!(one, other);
        assert_eq!(answered(&[9; 32]).as_ref(), [9; 32]);
    }
}
