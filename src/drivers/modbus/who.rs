//! Asks a device who it is, over a wire that is open: functions 43/14 and 17, as little as possible.

use super::identify::{self, Category, Question, ServerId};
use super::pdu::Request;
use super::read::Wire;
use crate::model::{Fault, Identity, Raw};

/// What the device says; unknown where it refuses both functions, or is not to be asked. A silence ends it at once, since some
/// devices stumble over a function that they do not know: an error where nothing was said before.
pub(super) async fn identify(wire: &mut impl Wire, device: usize) -> Result<Identity, Fault> {
    // Nobody answers a broadcast.
    if !wire.device(device).is_some_and(|device| device.identify && !device.broadcast) {
        return Ok(Identity::default());
    }
    let mut said = identify::Identity::default();
    let mut ended = device_identification(wire, device, &mut said).await;
    let mut server_id = None;
    if ended.is_ok() {
        match ask(wire, device, Question::ServerId).await {
            // What cannot be understood is as good as nothing.
            Ok(pdu) => server_id = identify::server_id(&pdu).ok(),
            Err(Fault::Refused(_) | Fault::Busy) => {}
            Err(fault) => ended = Err(fault),
        }
    }
    let identity = known(&said, server_id.as_ref());
    match ended {
        Err(fault) if identity.is_unknown() || fault == Fault::NotConnected => Err(fault),
        _ => Ok(identity),
    }
}

async fn device_identification(
    wire: &mut impl Wire,
    device: usize,
    said: &mut identify::Identity,
) -> Result<(), Fault> {
    for category in [Category::Basic, Category::Regular] {
        if category == Category::Regular && said.level < 2 {
            break;
        }
        let mut next = Some(0);
        while let Some(from) = next.take() {
            match ask(wire, device, Question::Device(category, from)).await {
                Ok(pdu) => next = identify::page(&pdu).ok().and_then(|page| said.add(from, page)),
                Err(Fault::Refused(_) | Fault::Busy) => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok(())
}

/// The PDU of an answer that is no exception.
async fn ask(wire: &mut impl Wire, device: usize, question: Question) -> Result<Vec<u8>, Fault> {
    let mut raw = Raw::default();
    wire.transact(device, &Request::Identify(question), &mut raw, false).await?;
    Ok(raw.words.iter().map(|word| *word as u8).collect())
}

fn known(said: &identify::Identity, server_id: Option<&ServerId>) -> Identity {
    let object = |object: u8| said.objects.get(&object).and_then(|text| Identity::text(text));
    Identity {
        vendor: object(0),
        product_code: object(1),
        revision: object(2),
        vendor_url: object(3),
        product_name: object(4),
        model: object(5),
        application: object(6),
        server_id: server_id.and_then(ServerId::text).and_then(|text| Identity::text(&text)),
        running: server_id.and_then(ServerId::running),
    }
}
