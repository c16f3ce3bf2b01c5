//! Compressed payloads, as Eclipse Tahu makes them: an envelope whose body is a payload.
//!
//! The text of Sparkplug 3.0 has the fields `uuid` and `body` (6.4.1) and leaves their use to the parties; this use is
//! that of Tahu and the hosts built on it: uuid `SPBV1.0_COMPRESSED`, and a metric `algorithm` with the name of one.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};

use super::{Metric, Payload, Raw, STRING};

/// The uuid of an envelope.
pub const COMPRESSED: &str = "SPBV1.0_COMPRESSED";
/// Smaller payloads are not compressed.
const LEAST: usize = 1024;
const ALGORITHM: &str = "algorithm";

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, which is what Java and JavaScript call deflate.
    Deflate,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Gzip => "GZIP",
            Algorithm::Deflate => "DEFLATE",
        }
    }

    fn compress(self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let room = Vec::with_capacity(bytes.len() / 4);
        match self {
            Algorithm::Gzip => {
                let mut encoder = GzEncoder::new(room, Compression::default());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Algorithm::Deflate => {
                let mut encoder = ZlibEncoder::new(room, Compression::default());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }

    fn inflate(self, bytes: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
        let mut inflated = Vec::new();
        let most = most as u64;
        match self {
            Algorithm::Gzip => GzDecoder::new(bytes).take(most + 1).read_to_end(&mut inflated)?,
            Algorithm::Deflate => ZlibDecoder::new(bytes).take(most + 1).read_to_end(&mut inflated)?,
        };
        Ok(inflated)
    }
}

/// The bytes of a payload, compressed where that makes them fewer. The envelope has time and number of what is in it.
pub fn compressed(
    plain: Vec<u8>,
    timestamp: Option<u64>,
    seq: Option<u64>,
    algorithm: Option<Algorithm>,
) -> Vec<u8> {
    let Some(algorithm) = algorithm.filter(|_| plain.len() >= LEAST) else { return plain };
    let Ok(body) = algorithm.compress(&plain) else { return plain };
    let told = Metric {
        name: Some(ALGORITHM.to_owned()),
        timestamp,
        datatype: Some(STRING),
        value: Some(Raw::Text(algorithm.name().to_owned())),
        ..Metric::default()
    };
    let envelope =
        Payload { timestamp, metrics: vec![told], seq, uuid: Some(COMPRESSED.to_owned()), body: Some(body) };
    let small = envelope.bytes();
    if small.len() < plain.len() { small } else { plain }
}

impl Payload {
    /// The bytes of it, compressed where that makes them fewer.
    pub fn compressed(&self, algorithm: Option<Algorithm>) -> Vec<u8> {
        compressed(self.bytes(), self.timestamp, self.seq, algorithm)
    }

    /// Itself, or what was compressed in it, of at most so many bytes.
    pub fn expanded(self, most: usize) -> Result<Payload, &'static str> {
        if self.uuid.as_deref() != Some(COMPRESSED) {
            return Ok(self);
        }
        let named = self.metrics.iter().find(|m| m.name.as_deref() == Some(ALGORITHM));
        let algorithm = match named.and_then(|m| m.value.as_ref()) {
            // As Tahu has it.
            None => Algorithm::Deflate,
            Some(Raw::Text(name)) if name.eq_ignore_ascii_case("GZIP") => Algorithm::Gzip,
            Some(Raw::Text(name)) if name.eq_ignore_ascii_case("DEFLATE") => Algorithm::Deflate,
            Some(_) => return Err("compressed in an unknown way"),
        };
        let body = self.body.as_deref().ok_or("compressed, without a body")?;
        let plain = algorithm.inflate(body, most).map_err(|_| "compressed, but the body is damaged")?;
        if plain.len() > most {
            return Err("too large when inflated");
        }
        if !super::weigh::is_light(&plain, super::weigh::MOST) {
            return Err("too many metrics");
        }
        Payload::parse(&plain).ok_or("no Sparkplug payload")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(metrics: usize) -> Payload {
        let metric = Metric { name: Some("flow".into()), value: Some(Raw::Int(7)), ..Metric::default() };
        Payload { seq: Some(3), timestamp: Some(5), metrics: vec![metric; metrics], ..Payload::default() }
    }

    #[test]
    fn what_is_compressed_comes_back_with_either_algorithm() {
        for algorithm in [Algorithm::Gzip, Algorithm::Deflate] {
            let bytes = payload(500).compressed(Some(algorithm));
            assert!(bytes.len() < payload(500).bytes().len() / 4);
            let envelope = Payload::parse(&bytes).unwrap();
            assert_eq!((envelope.seq, envelope.timestamp), (Some(3), Some(5)));
            assert_eq!(envelope.expanded(1 << 20), Ok(payload(500)));
        }
    }

    #[test]
    fn what_is_small_or_would_not_become_smaller_stays_as_it_is() {
        assert_eq!(payload(2).compressed(Some(Algorithm::Gzip)), payload(2).bytes());
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 56) as u8
        };
        let noise = Payload { body: Some((0..2000).map(|_| next()).collect()), ..Payload::default() };
        assert!(noise.bytes().len() >= LEAST);
        assert_eq!(noise.compressed(Some(Algorithm::Deflate)), noise.bytes());
    }

    #[test]
    fn a_bomb_damage_and_an_unknown_algorithm_are_refused() {
        let zeros = vec![0; 64 << 20];
        for algorithm in [Algorithm::Gzip, Algorithm::Deflate] {
            let name = Some(Raw::Text(algorithm.name().to_lowercase()));
            let metric = Metric { name: Some(ALGORITHM.into()), value: name, ..Metric::default() };
            let envelope = |body: Vec<u8>| Payload {
                uuid: Some(COMPRESSED.into()),
                body: Some(body),
                metrics: vec![metric.clone()],
                ..Payload::default()
            };
            let bomb = algorithm.compress(&zeros).unwrap();
            assert!(bomb.len() < 1 << 17);
            assert_eq!(envelope(bomb.clone()).expanded(1 << 20), Err("too large when inflated"));
            assert!(envelope(bomb[..1000].to_vec()).expanded(100 << 20).is_err());
            assert!(envelope(vec![7; 100]).expanded(1 << 20).is_err());
            assert!(Payload { body: None, ..envelope(vec![]) }.expanded(1 << 20).is_err());
            let unknown = Metric { value: Some(Raw::Text("LZ4".into())), ..metric.clone() };
            assert!(Payload { metrics: vec![unknown], ..envelope(bomb) }.expanded(1 << 20).is_err());
        }
    }
}
