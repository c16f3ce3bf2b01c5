//! The MQTT 3.1.1 packets a broker reads and writes, without I/O. Sections cited are of the OASIS standard.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why a client is cut off: what it sent is no MQTT 3.1.1 (4.8: close the connection).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(&'static str);

/// How sure a message is to arrive (4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Qos {
    /// At most once.
    Zero = 0,
    /// At least once.
    One = 1,
    /// Exactly once.
    Two = 2,
}

impl Qos {
    fn from_bits(bits: u8) -> Result<Qos, Malformed> {
        Ok(match bits {
            0 => Qos::Zero,
            1 => Qos::One,
            2 => Qos::Two,
            _ => return Err(Malformed("QoS 3 does not exist")),
        })
    }
}

/// An application message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
}

/// CONNECT (3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connect {
    pub(super) client_id: String,
    pub(super) clean_session: bool,
    /// Seconds; 0 switches the check off.
    pub(super) keep_alive: u16,
    pub(super) will: Option<Message>,
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    Connect(Connect),
    /// CONNECT of another protocol level, to be answered with return code 1 (3.1.2.2).
    OtherLevel,
    Publish {
        message: Message,
        id: u16,
    },
    PubAck(u16),
    PubRel(u16),
    Subscribe {
        id: u16,
        filters: Vec<(String, Qos)>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    PingReq,
    Disconnect,
}

/// CONNACK return codes (3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectReturn {
    Accepted = 0,
    OtherLevel = 1,
    ClientIdRejected = 2,
    Unavailable = 3,
}

/// Takes one whole packet from the front of `buffer`; `None` until there is one.
pub(super) fn decode(buffer: &mut BytesMut, limit: usize) -> Result<Option<Packet>, Malformed> {
    let Some((header, length, start)) = fixed_header(buffer)? else { return Ok(None) };
    // Known by the first byte already: what is no MQTT is not waited for.
    if !matches!((header >> 4, header & 0x0F), (3, _) | (1 | 4 | 12 | 14, 0) | (6 | 8 | 10, 2)) {
        return Err(Malformed("a packet type or flags that no client sends [MQTT-2.2.2-2]"));
    }
    if length > limit {
        return Err(Malformed("the packet is larger than the broker takes"));
    }
    if buffer.len() < start + length {
        return Ok(None);
    }
    buffer.advance(start);
    let body = Body(buffer.split_to(length).freeze());
    packet(header, body).map(Some)
}

/// First byte, remaining length (2.2.3: one to four bytes of seven bits) and where the rest starts.
fn fixed_header(buffer: &[u8]) -> Result<Option<(u8, usize, usize)>, Malformed> {
    let Some((&header, rest)) = buffer.split_first() else { return Ok(None) };
    let mut length = 0;
    for (at, &byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((header, length, at + 2)));
        }
    }
    if rest.len() < 4 { Ok(None) } else { Err(Malformed("a remaining length of more than four bytes")) }
}

/// `decode` let only the types below through.
fn packet(header: u8, mut body: Body) -> Result<Packet, Malformed> {
    let flags = header & 0x0F;
    let packet = match header >> 4 {
        1 => connect(&mut body)?,
        3 => publish(flags, &mut body)?,
        4 => Packet::PubAck(body.id()?),
        6 => Packet::PubRel(body.id()?),
        8 => {
            let id = body.id()?;
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                let filter = body.filter()?;
                filters.push((filter, Qos::from_bits(body.u8()?)?));
            }
            if filters.is_empty() {
                return Err(Malformed("SUBSCRIBE without a filter [MQTT-3.8.3-3]"));
            }
            Packet::Subscribe { id, filters }
        }
        10 => {
            let id = body.id()?;
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                filters.push(body.filter()?);
            }
            if filters.is_empty() {
                return Err(Malformed("UNSUBSCRIBE without a filter [MQTT-3.10.3-2]"));
            }
            Packet::Unsubscribe { id, filters }
        }
        12 => Packet::PingReq,
        _ => Packet::Disconnect,
    };
    // An OtherLevel CONNECT goes on in ways that are not ours to read.
    if body.0.is_empty() || packet == Packet::OtherLevel {
        Ok(packet)
    } else {
        Err(Malformed("bytes behind the end of the packet"))
    }
}

/// 3.1: variable header, then the payload in a fixed order.
fn connect(body: &mut Body) -> Result<Packet, Malformed> {
    if body.text()? != "MQTT" || body.u8()? != 4 {
        return Ok(Packet::OtherLevel);
    }
    let flags = body.u8()?;
    if flags & 0x01 != 0 {
        return Err(Malformed("the reserved connect flag is set [MQTT-3.1.2-3]"));
    }
    let keep_alive = body.u16()?;
    let client_id = body.text()?;
    let will_qos = Qos::from_bits(flags >> 3 & 0x03)?;
    let will = if flags & 0x04 != 0 {
        let topic = body.topic()?;
        let payload = body.binary()?;
        Some(Message { topic, payload, qos: will_qos, retain: flags & 0x20 != 0 })
    } else if flags & 0x38 != 0 {
        return Err(Malformed("will flags without a will [MQTT-3.1.2-11]"));
    } else {
        None
    };
    // User name and password are read and not asked for: the broker listens on loopback only.
    if flags & 0x80 != 0 {
        body.text()?;
    }
    if flags & 0x40 != 0 {
        if flags & 0x80 == 0 {
            return Err(Malformed("a password without a user name [MQTT-3.1.2-22]"));
        }
        body.binary()?;
    }
    Ok(Packet::Connect(Connect { client_id, clean_session: flags & 0x02 != 0, keep_alive, will }))
}

/// 3.3.
fn publish(flags: u8, body: &mut Body) -> Result<Packet, Malformed> {
    let qos = Qos::from_bits(flags >> 1 & 0x03)?;
    if qos == Qos::Zero && flags & 0x08 != 0 {
        return Err(Malformed("DUP with QoS 0 [MQTT-3.3.1-2]"));
    }
    let topic = body.topic()?;
    let id = if qos == Qos::Zero { 0 } else { body.id()? };
    let payload = std::mem::take(&mut body.0);
    Ok(Packet::Publish { message: Message { topic, payload, qos, retain: flags & 0x01 != 0 }, id })
}

/// What is left of a packet behind its fixed header.
struct Body(Bytes);

impl Body {
    const SHORT: Malformed = Malformed("the packet ends too early");

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Self::SHORT)
    }
    fn u16(&mut self) -> Result<u16, Malformed> {
        self.0.try_get_u16().map_err(|_| Self::SHORT)
    }
    fn id(&mut self) -> Result<u16, Malformed> {
        match self.u16()? {
            0 => Err(Malformed("packet identifier 0 [MQTT-2.3.1-1]")),
            id => Ok(id),
        }
    }
    fn binary(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::from(self.u16()?);
        if self.0.len() < length {
            return Err(Self::SHORT);
        }
        Ok(self.0.split_to(length))
    }
    /// 1.5.3: UTF-8 without U+0000.
    fn text(&mut self) -> Result<String, Malformed> {
        let text =
            String::from_utf8(self.binary()?.into()).map_err(|_| Malformed("text that is no UTF-8"))?;
        if text.contains('\0') { Err(Malformed("U+0000 in text [MQTT-1.5.3-2]")) } else { Ok(text) }
    }
    /// 3.3.2.1: at least one character, no wildcards.
    fn topic(&mut self) -> Result<String, Malformed> {
        let topic = self.text()?;
        if topic.is_empty() || topic.contains(['+', '#']) {
            return Err(Malformed("an empty topic or one with wildcards [MQTT-3.3.2-2]"));
        }
        Ok(topic)
    }
    /// 4.7.1: `#` alone at the end, `+` alone in its level.
    fn filter(&mut self) -> Result<String, Malformed> {
        let filter = self.text()?;
        let mut levels = filter.split('/').rev();
        let last = levels.next().unwrap_or_default();
        let whole = |level: &str| level == "+" || !level.contains(['+', '#']);
        if filter.is_empty() || !(last == "#" || whole(last)) || !levels.all(whole) {
            return Err(Malformed("a filter with misplaced wildcards [MQTT-4.7.1-2]"));
        }
        Ok(filter)
    }
}

/// 4.7: whether a valid filter takes in a topic.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1]: `$SYS` and the like are not for wildcards.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// CONNACK (3.2); a session is never present, since none outlives its connection.
pub(super) fn connack(code: ConnectReturn) -> Bytes {
    Bytes::copy_from_slice(&[0x20, 2, 0, code as u8])
}

/// PINGRESP (3.13).
pub(super) fn pingresp() -> Bytes {
    Bytes::from_static(&[0xD0, 0])
}

/// PUBACK (3.4).
pub(super) fn puback(id: u16) -> Bytes {
    with_id(0x40, id)
}

/// PUBREC (3.5).
pub(super) fn pubrec(id: u16) -> Bytes {
    with_id(0x50, id)
}

/// PUBCOMP (3.7).
pub(super) fn pubcomp(id: u16) -> Bytes {
    with_id(0x70, id)
}

/// UNSUBACK (3.11).
pub(super) fn unsuback(id: u16) -> Bytes {
    with_id(0xB0, id)
}

fn with_id(header: u8, id: u16) -> Bytes {
    let [high, low] = id.to_be_bytes();
    Bytes::copy_from_slice(&[header, 2, high, low])
}

/// SUBACK (3.9): what was granted, filter by filter.
pub(super) fn suback(id: u16, granted: &[Qos]) -> Bytes {
    let mut out = BytesMut::with_capacity(granted.len() + 7);
    out.put_u8(0x90);
    put_length(&mut out, granted.len() + 2);
    out.put_u16(id);
    out.extend(granted.iter().map(|qos| *qos as u8));
    out.freeze()
}

/// PUBLISH (3.3); `id` counts with QoS 1 only.
pub(super) fn put_publish(out: &mut BytesMut, message: &Message, qos: Qos, retain: bool, id: u16) {
    out.put_u8(0x30 | (qos as u8) << 1 | u8::from(retain));
    let id_length = if qos == Qos::Zero { 0 } else { 2 };
    put_length(out, 2 + message.topic.len() + id_length + message.payload.len());
    // A topic came in with a 16-bit length, so it goes out with one.
    out.put_u16(message.topic.len() as u16);
    out.put_slice(message.topic.as_bytes());
    if qos != Qos::Zero {
        out.put_u16(id);
    }
    out.put_slice(&message.payload);
}

fn put_length(out: &mut BytesMut, mut length: usize) {
    loop {
        let byte = (length & 0x7F) as u8;
        length >>= 7;
        if length == 0 {
            return out.put_u8(byte);
        }
        out.put_u8(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(bytes: &[u8]) -> Result<Option<Packet>, Malformed> {
        decode(&mut BytesMut::from(bytes), 1024)
    }

    #[test]
    fn a_connect_with_all_its_parts_is_read() {
        let bytes = b"\x10\x26\0\x04MQTT\x04\xEE\0\x3C\0\x02id\0\x04will\0\x03bye\0\x04user\0\x05words";
        let Some(Packet::Connect(connect)) = one(bytes).unwrap() else { panic!() };
        let will = Message {
            topic: "will".into(),
            payload: Bytes::from_static(b"bye"),
            qos: Qos::One,
            retain: true,
        };
        let expected =
            Connect { client_id: "id".into(), clean_session: true, keep_alive: 60, will: Some(will) };
        assert_eq!(connect, expected);
    }

    #[test]
    fn another_protocol_level_is_told_apart_from_garbage() {
        assert_eq!(one(b"\x10\x0D\0\x04MQTT\x05\x02\0\x3C\0\0\0"), Ok(Some(Packet::OtherLevel)));
        assert!(one(b"\x10\x0C\0\x04MQTT\x04\x03\0\x3C\0\0").is_err(), "reserved flag");
        assert!(one(b"\x10\x0C\0\x04MQTT\x04\x22\0\x3C\0\0").is_err(), "will retain without a will");
    }

    #[test]
    fn a_packet_is_taken_only_when_it_is_whole() {
        let whole = b"\x32\x08\0\x01t\0\x07abc";
        for end in 0..whole.len() {
            assert_eq!(one(&whole[..end]), Ok(None), "{end} bytes");
        }
        let Ok(Some(Packet::Publish { message, id: 7 })) = one(whole) else { panic!() };
        assert_eq!((message.topic.as_str(), &message.payload[..]), ("t", &b"abc"[..]));
    }

    #[test]
    fn what_is_written_has_the_bytes_of_the_specification() {
        assert_eq!(&connack(ConnectReturn::Accepted)[..], b"\x20\x02\0\0");
        assert_eq!(&suback(258, &[Qos::One, Qos::Zero])[..], b"\x90\x04\x01\x02\x01\0");
        let message =
            Message { topic: "a/b".into(), payload: Bytes::from(vec![0; 200]), qos: Qos::One, retain: false };
        let mut out = BytesMut::new();
        put_publish(&mut out, &message, Qos::One, true, 10);
        assert_eq!(&out[..10], b"\x33\xCF\x01\0\x03a/b\0\x0A"[..].get(..10).unwrap());
        assert_eq!(out.len(), 3 + 207);
    }

    #[test]
    fn wildcards_match_as_in_section_4_7() {
        for (filter, topic, expected) in [
            ("#", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("+", "a", true),
            ("+", "a/b", false),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/d", false),
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_filter_with_misplaced_wildcards_is_malformed() {
        for (filter, good) in
            [("a/#", true), ("+/a", true), ("a#", false), ("#/a", false), ("a+", false), ("", false)]
        {
            let mut bytes = vec![0x82, filter.len() as u8 + 5, 0, 1, 0, filter.len() as u8];
            bytes.extend(filter.as_bytes());
            bytes.push(0);
            assert_eq!(one(&bytes).is_ok(), good, "{filter}");
        }
    }

    #[test]
    fn a_packet_beyond_the_limit_is_refused_before_it_is_whole() {
        assert!(one(b"\x30\xFF\x7F").is_err());
        assert!(one(b"\x30\xFF\xFF\xFF\xFF").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut buffer, 1024) {}
        }
    }
}
