//! Noise on a line: bytes that are changed, lost or added, each by chance.

use super::dice::Dice;

/// Noise of one line.
#[derive(Debug, Clone)]
pub struct Noise {
    chance: f64,
    dice: Dice,
}

impl Noise {
    /// Hits each byte with this probability, 0 to 1; the same seed and the same bytes give the same noise.
    pub fn new(chance: f64, seed: u64) -> Noise {
        Noise { chance, dice: Dice::new(seed) }
    }

    /// Appends what becomes of `bytes` on the line. Of those hit half are changed, a quarter is lost, and a
    /// quarter has a byte before it that nobody sent.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            if self.dice.share() >= self.chance {
                out.push(*byte);
                continue;
            }
            let [kind, other, ..] = self.dice.bits().to_le_bytes();
            match kind % 4 {
                0 => {}
                1 => out.extend_from_slice(&[other, *byte]),
                // Never the byte that it was.
                _ => out.push(byte ^ other.max(1)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_hits_its_share_of_bytes_and_none_without_a_chance() {
        let clean: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let noisy = |chance| {
            let mut out = Vec::new();
            Noise::new(chance, 7).pass(&clean, &mut out);
            out
        };
        assert_eq!(noisy(0.0), clean);
        let out = noisy(0.005);
        assert_eq!(out, noisy(0.005));
        // What is lost and what is added are about as many, and few.
        assert!(out != clean && out.len().abs_diff(clean.len()) < 100, "{}", out.len());
        let mut only_changed = Noise::new(0.02, 3);
        let changed = (0..10_000).filter(|_| {
            let mut one = Vec::new();
            only_changed.pass(&[0x55], &mut one);
            one != [0x55]
        });
        let changed = changed.count();
        assert!((150..250).contains(&changed), "{changed}");
    }
}
