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

/// Text as people write it → common code; the tests hold each against the OPC Foundation's table.
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
    ("1/min", "C94"),
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
    ("µm", "4H"),
    ("mm/s", "C16"),
    ("m/min", "2X"),
    ("m/s2", "MSK"),
    ("m/s²", "MSK"),
    ("hl", "HLT"),
    ("hL", "HLT"),
    ("m3/min", "G53"),
    ("m³/min", "G53"),
    ("m3/d", "G52"),
    ("m³/d", "G52"),
    ("Nm3", "NM3"),
    ("Nm³", "NM3"),
    ("Nm3/h", "Q40"),
    ("Nm³/h", "Q40"),
    ("kg/min", "F31"),
    ("t/h", "E18"),
    ("g/m3", "A93"),
    ("g/m³", "A93"),
    ("mg/m3", "GP"),
    ("mg/m³", "GP"),
    ("µg/m3", "GQ"),
    ("µg/m³", "GQ"),
    ("µS/cm", "G42"),
    ("mS/cm", "H61"),
    ("µA", "B84"),
    ("kA", "B22"),
    ("Ah", "AMH"),
    ("mW", "C31"),
    ("GWh", "GWH"),
    ("MVA", "MVA"),
    ("Mvar", "MAR"),
    ("mΩ", "E45"),
    ("kΩ", "B49"),
    ("MΩ", "B75"),
    ("µs", "B98"),
    ("MJ", "3B"),
    ("GJ", "GV"),
    ("mPas", "C24"),
    ("cSt", "4C"),
    ("W/m2", "D54"),
    ("W/m²", "D54"),
    ("lm", "LUM"),
    ("gal/min", "G2"),
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

    /// Code, UnitId and display name as in the OPC Foundation's table `UNECE_to_OPCUA.csv` (UA-Nodeset,
    /// folder Schema, commit cafbb564), of every code that is used here.
    const OFFICIAL: &[(&str, i32, &str)] = &[
        ("CEL", 4_408_652, "°C"),
        ("FAH", 4_604_232, "°F"),
        ("KEL", 4_932_940, "K"),
        ("PAL", 5_259_596, "Pa"),
        ("A97", 4_274_487, "hPa"),
        ("KPA", 4_935_745, "kPa"),
        ("MPA", 5_066_817, "MPa"),
        ("BAR", 4_342_098, "bar"),
        ("MBR", 5_063_250, "mbar"),
        ("PS", 20_563, "lbf/in²"),
        ("4H", 13_384, "µm"),
        ("MMT", 5_066_068, "mm"),
        ("CMT", 4_410_708, "cm"),
        ("MTR", 5_067_858, "m"),
        ("KMT", 4_934_996, "km"),
        ("INH", 4_804_168, "in"),
        ("FOT", 4_607_828, "ft"),
        ("MTK", 5_067_851, "m²"),
        ("MTQ", 5_067_857, "m³"),
        ("NM3", 5_131_571, ""),
        ("LTR", 5_002_322, "l"),
        ("MLT", 5_065_812, "ml"),
        ("HLT", 4_738_132, "hl"),
        ("MTS", 5_067_859, "m/s"),
        ("C16", 4_403_510, "mm/s"),
        ("2X", 12_888, "m/min"),
        ("KMH", 4_934_984, "km/h"),
        ("MSK", 5_067_595, "m/s²"),
        ("MQH", 5_067_080, "m³/h"),
        ("MQS", 5_067_091, "m³/s"),
        ("G53", 4_666_675, "m³/min"),
        ("G52", 4_666_674, "m³/d"),
        ("Q40", 5_321_776, ""),
        ("G51", 4_666_673, "l/s"),
        ("L2", 19_506, "l/min"),
        ("G2", 18_226, "gal (US) /min"),
        ("MGM", 5_064_525, "mg"),
        ("GRM", 4_674_125, "g"),
        ("KGM", 4_933_453, "kg"),
        ("TNE", 5_525_061, "t"),
        ("KGS", 4_933_459, "kg/s"),
        ("E93", 4_536_627, "kg/h"),
        ("F31", 4_600_625, "kg/min"),
        ("E18", 4_534_584, "t/h"),
        ("M1", 19_761, "mg/l"),
        ("GL", 18_252, "g/l"),
        ("KMQ", 4_934_993, "kg/m³"),
        ("A93", 4_274_483, "g/m³"),
        ("GP", 18_256, "mg/m³"),
        ("GQ", 18_257, "µg/m³"),
        ("Q30", 5_321_520, "pH"),
        ("G42", 4_666_418, "µS/cm"),
        ("H61", 4_732_465, "mS/cm"),
        ("B84", 4_339_764, "µA"),
        ("4K", 13_387, "mA"),
        ("AMP", 4_279_632, "A"),
        ("B22", 4_338_226, "kA"),
        ("AMH", 4_279_624, "A·h"),
        ("2Z", 12_890, "mV"),
        ("VLT", 5_655_636, "V"),
        ("KVT", 4_937_300, "kV"),
        ("C31", 4_404_017, "mW"),
        ("WTT", 5_723_220, "W"),
        ("KWT", 4_937_556, "kW"),
        ("MAW", 5_062_999, "MW"),
        ("WHR", 5_720_146, "W·h"),
        ("KWH", 4_937_544, "kW·h"),
        ("MWH", 5_068_616, "MW·h"),
        ("GWH", 4_675_400, "GW·h"),
        ("D46", 4_469_814, "V·A"),
        ("KVA", 4_937_281, "kV·A"),
        ("MVA", 5_068_353, "MV·A"),
        ("D44", 4_469_812, "var"),
        ("KVR", 4_937_298, "kvar"),
        // The table's own display name is `kvar`, its description `megavar`.
        ("MAR", 5_062_994, "kvar"),
        ("E45", 4_535_349, "mΩ"),
        ("OHM", 5_195_853, "Ω"),
        ("B49", 4_338_745, "kΩ"),
        ("B75", 4_339_509, "MΩ"),
        ("HTZ", 4_740_186, "Hz"),
        ("KHZ", 4_933_722, "kHz"),
        ("MHZ", 5_064_794, "MHz"),
        ("RPM", 5_394_509, "r/min"),
        ("C94", 4_405_556, "min⁻¹"),
        ("B98", 4_340_024, "µs"),
        ("C26", 4_403_766, "ms"),
        ("SEC", 5_457_219, "s"),
        ("MIN", 5_065_038, "min"),
        ("HUR", 4_740_434, "h"),
        ("DAY", 4_473_177, "d"),
        ("JOU", 4_869_973, "J"),
        ("KJO", 4_934_223, "kJ"),
        ("3B", 13_122, "MJ"),
        ("GV", 18_262, "GJ"),
        ("NEW", 5_129_559, "N"),
        ("B47", 4_338_743, "kN"),
        ("NU", 20_053, "N·m"),
        ("C24", 4_403_764, "mPa·s"),
        ("4C", 13_379, "cSt"),
        ("DD", 17_476, "°"),
        ("C81", 4_405_297, "rad"),
        ("2N", 12_878, "dB"),
        ("D54", 4_470_068, "W/m²"),
        ("LUM", 5_002_573, "lm"),
        ("LUX", 5_002_584, "lx"),
    ];
    /// In Recommendation 20 itself and not in that table, which leaves out what is no measure.
    const ELSEWHERE: [&str; 4] = ["P1", "NX", "59", "AD"];

    #[test]
    fn every_code_is_in_the_official_table_with_the_number_that_the_rule_gives() {
        for (text, code) in CODES {
            let found = OFFICIAL.iter().find(|(official, ..)| official == code);
            match found {
                Some((_, id, _)) => assert_eq!(unit(text).id, *id, "{text}"),
                None => assert!(ELSEWHERE.contains(code), "{text}: {code}"),
            }
        }
        for (code, id, _) in OFFICIAL {
            assert_eq!(number(code), *id, "{code}");
            assert!(CODES.iter().any(|(_, used)| used == code), "{code} is not used");
        }
    }

    #[test]
    fn a_text_means_what_the_official_display_name_says() {
        // What people write otherwise, brought to the table's way of writing.
        let same = |text: &str| {
            let text = text.replace("m2", "m²").replace("m3", "m³").replace("s2", "s²").replace('L', "l");
            let text = match text.as_str() {
                "degC" => "°C",
                "degF" => "°F",
                "psi" => "lbf/in²",
                "Wh" => "W·h",
                "kWh" => "kW·h",
                "MWh" => "MW·h",
                "GWh" => "GW·h",
                "Ah" => "A·h",
                "VA" => "V·A",
                "kVA" => "kV·A",
                "MVA" => "MV·A",
                "Mvar" => "kvar",
                "Ohm" => "Ω",
                "rpm" => "r/min",
                "1/min" => "min⁻¹",
                "Nm" => "N·m",
                "mPas" => "mPa·s",
                "deg" => "°",
                "gal/min" => "gal (US) /min",
                "Nm³" | "Nm³/h" => "",
                other => other,
            };
            text.to_owned()
        };
        for (text, code) in CODES.iter().filter(|(_, code)| !ELSEWHERE.contains(code)) {
            let (.., name) = OFFICIAL.iter().find(|(official, ..)| official == code).unwrap();
            assert_eq!(same(text), *name, "{text}");
        }
    }

    #[test]
    fn an_unknown_unit_keeps_its_text() {
        let odd = unit("furlongs/fortnight");
        assert_eq!((odd.id, odd.namespace, odd.text.as_str()), (-1, OWN, "furlongs/fortnight"));
        assert_eq!(unit("bar").namespace, UNECE);
    }

    #[test]
    fn no_text_stands_for_two_codes() {
        for (at, (text, _)) in CODES.iter().enumerate() {
            assert!(CODES.iter().skip(at + 1).all(|(other, _)| other != text), "{text}");
        }
    }
}
