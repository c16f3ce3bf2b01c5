//! What happened at the wire.

/// Why a transaction with a device gave nothing. Decided in the driver, nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The port or the socket is not open, or closed during the transaction.
    #[error("not connected")]
    NotConnected,
    /// No answer within the time-out.
    #[error("no answer")]
    Timeout,
    /// An answer that fails its check: CRC, length, unit, function.
    #[error("garbled answer")]
    Garbled,
    /// The device answered with this exception code.
    #[error("refused with exception {0}")]
    Refused(u8),
    /// The device asks to be left alone for a while.
    #[error("device busy")]
    Busy,
    /// The device took what was written, and holds something else.
    #[error("it holds another value than was written")]
    Altered,
    /// The driver cannot do this.
    #[error("not supported")]
    Unsupported,
}
