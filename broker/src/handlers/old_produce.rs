//! Produce before version 3: said to be there, for the sake of old clients that look for it, and refused in its own words.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;

/// The first versions whose answers say how long to wait, and when records were appended.
const THROTTLE_FROM: i16 = 1;
const APPEND_TIME_FROM: i16 = 2;

/// The answer to a request that the guard has walked, without its header: error 35 for every partition. `None` where the
/// client wants no answer.
pub(crate) fn refusal(version: i16, mut request: Bytes) -> Option<BytesMut> {
    let acks = request.try_get_i16().ok()?;
    let _timeout_ms = request.try_get_i32().ok()?;
    if acks == 0 {
        return None;
    }
    let mut answer = BytesMut::new();
    let topics = copy_count(&mut request, &mut answer)?;
    for _ in 0..topics {
        let name = request.try_get_u16().ok()?;
        answer.put_u16(name);
        answer.put(take(&mut request, name.into())?);
        let partitions = copy_count(&mut request, &mut answer)?;
        for _ in 0..partitions {
            answer.put_i32(request.try_get_i32().ok()?);
            answer.put_i16(ResponseError::UnsupportedVersion.code());
            answer.put_i64(-1);
            if version >= APPEND_TIME_FROM {
                answer.put_i64(-1);
            }
            // Null, which is -1, has no bytes.
            let records = usize::try_from(request.try_get_i32().ok()?).unwrap_or(0);
            take(&mut request, records)?;
        }
    }
    if version >= THROTTLE_FROM {
        answer.put_i32(0);
    }
    Some(answer)
}

fn copy_count(from: &mut Bytes, to: &mut BytesMut) -> Option<u32> {
    let count = from.try_get_u32().ok()?;
    to.put_u32(count);
    Some(count)
}

fn take(from: &mut Bytes, bytes: usize) -> Option<Bytes> {
    (bytes <= from.len()).then(|| from.split_to(bytes))
}
