//! Who a device is, and the gateway itself: the nameplate of OPC 10000-100 (Devices) §4.5.2.

use opcua::server::address_space::{AddressSpace, ObjectTypeBuilder, VariableBuilder};
use opcua::types::{
    DataTypeId, LocalizedText, NodeId, ObjectId, ObjectTypeId, QualifiedName, ReferenceTypeId,
    VariableTypeId, Variant,
};

use super::grow;
use crate::model::{Identity, Plate};
use crate::publishers::opcua::space;

/// The namespace of OPC 10000-100.
pub(super) const DI: &str = "http://opcfoundation.org/UA/DI/";
/// IVendorNameplateType and its properties there.
const INTERFACE: u32 = 15035;
/// The properties that are used, with their numbers in the model and whether they are LocalizedText; else
/// they are String.
const PROPERTIES: [(&str, u32, bool); 7] = [
    ("Manufacturer", 15036, true),
    ("ManufacturerUri", 15037, false),
    ("Model", 15038, true),
    ("HardwareRevision", 15039, false),
    ("SoftwareRevision", 15040, false),
    ("ProductCode", 15042, false),
    ("SerialNumber", 15045, false),
];
/// The names alone.
pub(super) const NAMES: [&str; 7] = [
    PROPERTIES[0].0,
    PROPERTIES[1].0,
    PROPERTIES[2].0,
    PROPERTIES[3].0,
    PROPERTIES[4].0,
    PROPERTIES[5].0,
    PROPERTIES[6].0,
];

/// Adds the interface that devices have; `di` is the index of its namespace.
pub(super) fn add_type(di: u16, address_space: &mut AddressSpace) {
    let id = NodeId::new(di, INTERFACE);
    let name = "IVendorNameplateType";
    ObjectTypeBuilder::new(&id, QualifiedName::new(di, name), name)
        .is_abstract(true)
        .subtype_of(ObjectTypeId::BaseInterfaceType)
        .insert(address_space);
    for (name, number, localized) in PROPERTIES {
        let property = NodeId::new(di, number);
        let kind = if localized { DataTypeId::LocalizedText } else { DataTypeId::String };
        VariableBuilder::new(&property, QualifiedName::new(di, name), name)
            .data_type(kind)
            .value(Variant::Empty)
            .property_of(id.clone())
            .has_type_definition(VariableTypeId::PropertyType)
            .insert(address_space);
        let rule = NodeId::from(ObjectId::ModellingRule_Optional);
        address_space.insert_reference(&property, &rule, ReferenceTypeId::HasModellingRule);
    }
}

/// What stands on the plate of a device: as it says itself, else as its profile knows. What nobody knows
/// is not there.
pub(super) fn of_device(identity: Option<&Identity>, plate: Option<&Plate>) -> Vec<(&'static str, String)> {
    let said = |of: fn(&Identity) -> &Option<String>| identity.and_then(|identity| of(identity).clone());
    let known = |of: fn(&Plate) -> &Option<String>| plate.and_then(|plate| of(plate).clone());
    let model = said(|i| &i.model).or_else(|| said(|i| &i.product_name));
    [
        ("Manufacturer", said(|i| &i.vendor).or_else(|| known(|p| &p.manufacturer))),
        ("ManufacturerUri", said(|i| &i.vendor_url)),
        ("Model", model.or_else(|| known(|p| &p.model))),
        ("SoftwareRevision", said(|i| &i.revision)),
        ("ProductCode", said(|i| &i.product_code)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// What stands on the gateway's own.
pub(super) fn of_gateway() -> Vec<(&'static str, String)> {
    vec![
        ("Manufacturer", "Fieldgate".to_owned()),
        ("Model", "Fieldgate".to_owned()),
        ("SoftwareRevision", env!("CARGO_PKG_VERSION").to_owned()),
    ]
}

/// Puts a plate on an object, in the place of the one before.
pub(super) fn show(
    object: &str,
    plate: Vec<(&'static str, String)>,
    (di, index): (u16, u16),
    address_space: &mut AddressSpace,
) {
    for name in NAMES {
        address_space.delete(&NodeId::new(index, space::property_id(object, name)), true);
    }
    for (name, text) in plate {
        let localized = PROPERTIES.iter().any(|(other, _, localized)| *other == name && *localized);
        let (kind, value) = if localized {
            (DataTypeId::LocalizedText, Variant::from(LocalizedText::from(text)))
        } else {
            (DataTypeId::String, Variant::from(text))
        };
        grow::property(object, (name, kind, value), di, index, address_space);
    }
}

/// Says that an object has such a plate.
pub(super) fn promise(object: &str, (di, index): (u16, u16), address_space: &mut AddressSpace) {
    grow::has_interface(object, NodeId::new(di, INTERFACE), index, address_space);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_device_says_goes_before_what_its_profile_knows() {
        let plate =
            Plate { manufacturer: Some("Acme".into()), model: Some("P-1".into()), ..Plate::default() };
        let identity = Identity { vendor: Some("ACME GmbH".into()), ..Identity::default() };
        let shown = of_device(Some(&identity), Some(&plate));
        assert_eq!(shown, [("Manufacturer", "ACME GmbH".to_owned()), ("Model", "P-1".to_owned())]);
        assert!(of_device(None, None).is_empty());
    }
}
