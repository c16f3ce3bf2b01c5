//! How OPC UA says a quality and a refusal: total matches to StatusCodes (Part 4 §7.39, Part 8 §6.2).

use crate::command::Refusal;
use crate::model::{Bad, Fault, Quality, Uncertain};

/// A StatusCode of OPC UA Part 6 annex A.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u32);

impl Status {
    pub(super) const GOOD: Status = Status(0);
    pub(super) const UNCERTAIN: Status = Status(0x4000_0000);
    pub(super) const UNCERTAIN_LAST_USABLE_VALUE: Status = Status(0x4090_0000);
    pub(super) const UNCERTAIN_ENGINEERING_UNITS_EXCEEDED: Status = Status(0x4094_0000);
    pub(super) const BAD_RESOURCE_UNAVAILABLE: Status = Status(0x8004_0000);
    pub(super) const BAD_COMMUNICATION_ERROR: Status = Status(0x8005_0000);
    pub(super) const BAD_DECODING_ERROR: Status = Status(0x8007_0000);
    pub(super) const BAD_TIMEOUT: Status = Status(0x800A_0000);
    pub(super) const BAD_TOO_MANY_OPERATIONS: Status = Status(0x8010_0000);
    pub(super) const BAD_USER_ACCESS_DENIED: Status = Status(0x801F_0000);
    pub(super) const BAD_NO_COMMUNICATION: Status = Status(0x8031_0000);
    pub(super) const BAD_WAITING_FOR_INITIAL_DATA: Status = Status(0x8032_0000);
    pub(super) const BAD_NODE_ID_UNKNOWN: Status = Status(0x8034_0000);
    pub(super) const BAD_NOT_READABLE: Status = Status(0x803A_0000);
    pub(super) const BAD_NOT_WRITABLE: Status = Status(0x803B_0000);
    pub(super) const BAD_OUT_OF_RANGE: Status = Status(0x803C_0000);
    pub(super) const BAD_NOT_SUPPORTED: Status = Status(0x803D_0000);
    pub(super) const BAD_WRITE_NOT_SUPPORTED: Status = Status(0x8073_0000);
    pub(super) const BAD_TYPE_MISMATCH: Status = Status(0x8074_0000);
    pub(super) const BAD_DEVICE_FAILURE: Status = Status(0x808B_0000);
    pub(super) const BAD_SENSOR_FAILURE: Status = Status(0x808C_0000);
    pub(super) const BAD_NO_DATA: Status = Status(0x809B_0000);
    pub(super) const BAD_AGGREGATE_INVALID_INPUTS: Status = Status(0x80D6_0000);
    pub(super) const BAD_BOUND_NOT_FOUND: Status = Status(0x80D7_0000);
    pub(super) const UNCERTAIN_DATA_SUB_NORMAL: Status = Status(0x40A4_0000);
    pub(super) const BAD_EVENT_ID_UNKNOWN: Status = Status(0x809A_0000);
    pub(super) const BAD_CONDITION_BRANCH_ALREADY_ACKED: Status = Status(0x80CF_0000);
    pub(super) const BAD_OUT_OF_SERVICE: Status = Status(0x808D_0000);
    pub(super) const BAD_TCP_SERVER_TOO_BUSY: Status = Status(0x807D_0000);
    pub(super) const BAD_TCP_MESSAGE_TYPE_INVALID: Status = Status(0x807E_0000);
    pub(super) const BAD_TCP_MESSAGE_TOO_LARGE: Status = Status(0x8080_0000);
    pub(super) const BAD_TCP_NOT_ENOUGH_RESOURCES: Status = Status(0x8081_0000);
    pub(super) const BAD_TCP_INTERNAL_ERROR: Status = Status(0x8082_0000);
}

/// The status of a sample.
pub(super) fn of_quality(quality: Quality) -> Status {
    match quality {
        Quality::Good => Status::GOOD,
        Quality::Uncertain(Uncertain::OutOfLimits) => Status::UNCERTAIN_ENGINEERING_UNITS_EXCEEDED,
        // No code of Part 8 speaks of the time stamp.
        Quality::Uncertain(Uncertain::TimeUnknown) => Status::UNCERTAIN,
        Quality::Uncertain(Uncertain::LastKnown) => Status::UNCERTAIN_LAST_USABLE_VALUE,
        Quality::Bad(bad) => match bad {
            Bad::Waiting => Status::BAD_WAITING_FOR_INITIAL_DATA,
            Bad::NotConnected => Status::BAD_NO_COMMUNICATION,
            Bad::NoAnswer => Status::BAD_TIMEOUT,
            Bad::Garbled => Status::BAD_COMMUNICATION_ERROR,
            Bad::Refused(_) => Status::BAD_DEVICE_FAILURE,
            Bad::Busy => Status::BAD_RESOURCE_UNAVAILABLE,
            Bad::Unsupported => Status::BAD_NOT_SUPPORTED,
            // A device writes NaN where its measurement failed.
            Bad::NotANumber => Status::BAD_SENSOR_FAILURE,
            Bad::NotText => Status::BAD_DECODING_ERROR,
            Bad::Stopped => Status::BAD_OUT_OF_SERVICE,
            Bad::NeverRead => Status::BAD_NOT_READABLE,
        },
    }
}

/// The answer to a Write that was not carried out.
pub(super) fn of_refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::UnknownTag => Status::BAD_NODE_ID_UNKNOWN,
        Refusal::ReadOnly => Status::BAD_NOT_WRITABLE,
        Refusal::WrongType => Status::BAD_TYPE_MISMATCH,
        Refusal::OutOfRange => Status::BAD_OUT_OF_RANGE,
        Refusal::TooOften => Status::BAD_TOO_MANY_OPERATIONS,
        Refusal::NotAllowed => Status::BAD_USER_ACCESS_DENIED,
        Refusal::LinkDown => Status::BAD_NO_COMMUNICATION,
        Refusal::Fault(fault) => match fault {
            Fault::NotConnected => Status::BAD_NO_COMMUNICATION,
            Fault::Timeout => Status::BAD_TIMEOUT,
            Fault::Garbled => Status::BAD_COMMUNICATION_ERROR,
            Fault::Refused(_) => Status::BAD_DEVICE_FAILURE,
            Fault::Busy => Status::BAD_RESOURCE_UNAVAILABLE,
            // Most often a device that limits the value by itself.
            Fault::Altered => Status::BAD_OUT_OF_RANGE,
            Fault::Unsupported => Status::BAD_NOT_SUPPORTED,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_severity_of_a_status_is_that_of_its_quality() {
        for quality in (0..=u16::MAX).filter_map(Quality::from_code) {
            let severity = of_quality(quality).0 >> 30;
            let expected = if quality.is_good() {
                0
            } else if quality.is_bad() {
                2
            } else {
                1
            };
            assert_eq!(severity, expected, "{quality}");
        }
    }

    #[test]
    fn every_refusal_is_bad() {
        for refusal in [
            Refusal::UnknownTag,
            Refusal::ReadOnly,
            Refusal::WrongType,
            Refusal::OutOfRange,
            Refusal::TooOften,
            Refusal::NotAllowed,
            Refusal::LinkDown,
            Refusal::Fault(Fault::Refused(2)),
        ] {
            assert_eq!(of_refusal(refusal).0 >> 30, 2, "{refusal}");
        }
    }
}
