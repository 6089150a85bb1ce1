use super::*;

#[test]
fn a_large_message_is_cut_into_pieces_that_make_it_up() {
    let parts = [vec![b'h'; 10], vec![b'x'; 2 * PIECE + 1], vec![b't'; 3]].map(Bytes::from);
    let whole = parts.concat();
    let frames = pieces(parts);
    let kinds: Vec<_> = frames
        .iter()
        .map(|frame| (frame.header().opcode, frame.header().is_final))
        .collect();
    let (first, more) = (OpCode::Data(Data::Text), OpCode::Data(Data::Continue));
    assert_eq!(
        kinds,
        [
            (first, false),
            (more, false),
            (more, false),
            (more, false),
            (more, true)
        ]
    );
    let joined: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.payload().to_vec())
        .collect();
    assert!(joined == whole);
    assert!(frames.iter().all(|frame| frame.payload().len() <= PIECE));
}
