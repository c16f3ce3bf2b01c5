//! Engineering units as OPC UA names them: UNECE Recommendation 20 common codes (Part 8 §5.6.3).

/// The namespace of UNECE codes.
pub(super) const UNECE: &str = "http://www.opcfoundation.org/UA/units/un/cefact";
/// The namespace of units that have no code here.
pub(super) const OWN: &str = "urn:fieldgate:units";

/// What EUInformation tells of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Whose number it is.
    pub(super) namespace: &'static str,
    /// The code's characters as a number; -1 where there is none.
    pub(super) id: i32,
    /// As written in the file.
    pub(super) text: String,
}

/// Text as people write it → common code.
const CODES: &[(&str, &str)] = &[
    ("%", "P1"),
    ("‰", "NX"),
    ("permille", "NX"),
    ("ppm", "59"),
    ("°C", "CEL"),
    ("degC", "CEL"),
    ("°F", "FAH"),
    ("degF", "FAH"),
    ("K", "KEL"),
    ("Pa", "PAL"),
    ("hPa", "A97"),
    ("kPa", "KPA"),
    ("MPa", "MPA"),
    ("bar", "BAR"),
    ("mbar", "MBR"),
    ("psi", "PS"),
    ("mm", "MMT"),
    ("cm", "CMT"),
    ("m", "MTR"),
    ("km", "KMT"),
    ("in", "INH"),
    ("ft", "FOT"),
    ("m2", "MTK"),
    ("m²", "MTK"),
    ("m3", "MTQ"),
    ("m³", "MTQ"),
    ("l", "LTR"),
    ("L", "LTR"),
    ("ml", "MLT"),
    ("mL", "MLT"),
    ("m/s", "MTS"),
    ("km/h", "KMH"),
    ("m3/h", "MQH"),
    ("m³/h", "MQH"),
    ("m3/s", "MQS"),
    ("m³/s", "MQS"),
    ("l/s", "G51"),
    ("L/s", "G51"),
    ("l/min", "L2"),
    ("L/min", "L2"),
    ("mg", "MGM"),
    ("g", "GRM"),
    ("kg", "KGM"),
    ("t", "TNE"),
    ("kg/s", "KGS"),
    ("kg/h", "E93"),
    ("mg/l", "M1"),
    ("mg/L", "M1"),
    ("g/l", "GL"),
    ("g/L", "GL"),
    ("kg/m3", "KMQ"),
    ("kg/m³", "KMQ"),
    ("pH", "Q30"),
    ("mA", "4K"),
    ("A", "AMP"),
    ("mV", "2Z"),
    ("V", "VLT"),
    ("kV", "KVT"),
    ("W", "WTT"),
    ("kW", "KWT"),
    ("MW", "MAW"),
    ("Wh", "WHR"),
    ("kWh", "KWH"),
    ("MWh", "MWH"),
    ("VA", "D46"),
    ("kVA", "KVA"),
    ("var", "D44"),
    ("kvar", "KVR"),
    ("Ohm", "OHM"),
    ("Ω", "OHM"),
    ("Hz", "HTZ"),
    ("kHz", "KHZ"),
    ("MHz", "MHZ"),
    ("rpm", "RPM"),
    ("1/min", "RPM"),
    ("ms", "C26"),
    ("s", "SEC"),
    ("min", "MIN"),
    ("h", "HUR"),
    ("d", "DAY"),
    ("J", "JOU"),
    ("kJ", "KJO"),
    ("N", "NEW"),
    ("kN", "B47"),
    ("Nm", "NU"),
    ("°", "DD"),
    ("deg", "DD"),
    ("rad", "C81"),
    ("dB", "2N"),
    ("lx", "LUX"),
    ("B", "AD"),
];

/// The unit that a tag's text means.
pub(super) fn unit(text: &str) -> Unit {
    let code = CODES.iter().find(|(written, _)| *written == text).map(|(_, code)| code);
    match code {
        Some(code) => Unit { namespace: UNECE, id: number(code), text: text.to_owned() },
        None => Unit { namespace: OWN, id: -1, text: text.to_owned() },
    }
}

/// Part 8 §5.6.3.3: the characters of the code, each a byte of the number.
fn number(code: &str) -> i32 {
    code.bytes().fold(0, |number, byte| (number << 8) | i32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_unit_has_the_number_of_its_code() {
        // Both numbers are in the OPC Foundation's list UNECE_to_OPCUA.csv.
        assert_eq!(unit("°C").id, 4_408_652);
        assert_eq!(unit("%").id, 20_529);
        assert_eq!(unit("bar").namespace, UNECE);
    }

    #[test]
    fn an_unknown_unit_keeps_its_text() {
        let odd = unit("furlongs/fortnight");
        assert_eq!((odd.id, odd.namespace, odd.text.as_str()), (-1, OWN, "furlongs/fortnight"));
    }

    #[test]
    fn no_text_stands_for_two_codes() {
        for (at, (text, _)) in CODES.iter().enumerate() {
            assert!(CODES.iter().skip(at + 1).all(|(other, _)| other != text), "{text}");
        }
    }
}
